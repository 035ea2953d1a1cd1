"""Play days of a team through the queue's policy and through others; print waits, swaps and device use with bars.

The last line is one JSON object with the rows. `--write` puts the tables into docs/queue.md.
"""

import json
import re
from argparse import ArgumentParser
from datetime import date
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from generation.management.recorded import recorded
from generation.policy.choice import Rules
from generation.simulation.days import made_up
from generation.simulation.report import Trial, lines, markdown, trial

TEAMS = ((20, 1), (200, 4), (2000, 16))
LOADS = (0.5, 0.75)
QUICK = ((20, 1), (60, 2))
BEGIN, END = "<!-- simulate_queue -->", "<!-- end simulate_queue -->"


class Command(BaseCommand):
    """`manage.py simulate_queue`."""

    help = "Play days through the queue's policy, and through first in, first out and round robin."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Options."""
        parser.add_argument("--people", type=int, help="of a made-up day; with --devices, instead of the usual teams")
        parser.add_argument("--devices", type=int, default=1)
        parser.add_argument("--load", type=float, nargs="*", default=LOADS, help="share of the devices' day, e.g. 0.75")
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument("--recorded", metavar="DAY", help="a day of this installation, such as 2026-11-28")
        parser.add_argument("--quick", action="store_true", help="small teams only")
        parser.add_argument("--write", action="store_true", help="the tables into docs/queue.md")

    def handle(self, **options: Any) -> None:
        """Print, then maybe write."""
        rules = Rules(longest_passed=settings.LONGEST_SWAP_WAIT)
        trials = self._recorded(options, rules) if options["recorded"] else self._made_up(options, rules)
        if options["write"]:
            write_page(Path(settings.ROOT) / "docs" / "queue.md", trials)
        rows = [row.to_dict() for one in trials for row in one.rows]
        self.stdout.write(json.dumps({"simulate_queue": rows}))

    def _made_up(self, options: dict[str, Any], rules: Rules) -> list[Trial]:
        teams: tuple[tuple[int, int], ...] = QUICK if options["quick"] else TEAMS
        teams = ((options["people"], options["devices"]),) if options["people"] else teams
        return [
            self._play(
                f"{people:,} people, {devices} device{'s' * (devices > 1)}, load {load:g}",
                made_up(people, devices, seed=options["seed"], load=load),
                rules,
            )
            for people, devices in teams
            for load in options["load"]
        ]

    def _recorded(self, options: dict[str, Any], rules: Rules) -> list[Trial]:
        try:
            day = date.fromisoformat(options["recorded"])
        except ValueError as error:
            raise CommandError(f"{options['recorded']!r} is no day; write it like 2026-11-28.") from error
        found = recorded(day, options["devices"])
        if found is None:
            raise CommandError(f"Nothing was drawn here on {day}. Choose another day, or leave --recorded out.")
        return [self._play(f"{day}, {options['devices']} devices", found, rules)]

    def _play(self, title: str, day: Any, rules: Rules) -> Trial:
        found = trial(title, day, rules)
        self.stdout.write("\n".join(lines(found)))
        return found


def write_page(page: Path, trials: list[Trial]) -> None:
    """Replace the tables between their marks."""
    fresh = "\n".join([BEGIN, "", *markdown(trials), "", END])
    text = page.read_text(encoding="utf-8")
    if BEGIN not in text:
        raise CommandError(f"{page} has no mark {BEGIN}, so the tables have no place there.")
    page.write_text(
        re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: fresh, text, flags=re.DOTALL), encoding="utf-8"
    )
