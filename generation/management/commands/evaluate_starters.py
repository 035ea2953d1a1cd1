"""`manage.py evaluate_starters`: both starters against their bars, in one table, drawn as a user's request is drawn."""

import json
import os
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from generation.engines.client import RoomClient, RoomSettings
from generation.engines.errors import EngineError
from generation.engines.inspection import inspect_checkpoint
from generation.engines.params import CheckpointSpec, Family
from generation.evaluation.asking import Measured, measure
from generation.evaluation.bars import FAMILIES
from generation.evaluation.preparing import WorldUnavailableError, build_world
from generation.evaluation.readme import MarkersError, markdown, write_readme
from generation.evaluation.report import Report, busy, notes, table
from generation.evaluation.trials import TASKS, Task, make_trials
from generation.services.checkpoints import STARTERS
from generation.training.world import training_dir

FAILED, WRONG_WISH, INTERRUPTED = 1, 2, 130
WIDTH = 150  # of the table where nobody's terminal says how wide it is
ROOT = STARTERS.parents[1]
README = "README.md"


class Command(BaseCommand):
    """Measure, show, and say by the exit code whether every bar is met."""

    help = "Measure both starters on prompts they never saw. Exit code 0 when every bar is met, else 1."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """How much is asked, and how it is told."""
        parser.add_argument("--prompts", type=int, default=200, metavar="N", help="trials of each task (200)")
        parser.add_argument("--seed", type=int, default=1, help="other trials (1)")
        parser.add_argument("--threads", type=int, default=2, help="CPU threads of the engine room (2)")
        parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
        parser.add_argument("--markdown", action="store_true", help="print the README's table in place of the full one")
        parser.add_argument("--write-readme", action="store_true", help="put that table into README.md")
        for family in FAMILIES:
            parser.add_argument(f"--{family}", metavar="DIR", help=f"other weights than the {family} starter's")

    def handle(self, *args: Any, **options: Any) -> None:
        """Exit codes: 1 a bar was missed or it could not be measured, 2 a wrong wish, 130 interrupted."""
        if options["prompts"] < 1 or options["threads"] < 1 or options["seed"] < 0:
            raise CommandError("Give at least one prompt and one thread, and no negative seed.", returncode=WRONG_WISH)
        try:
            report = self._measure(options)
            if options["write_readme"]:
                write_readme(ROOT / README, report)
        except EngineError as error:
            raise CommandError(f"{error.message} {error.hint}".strip(), returncode=FAILED) from error
        except (WorldUnavailableError, MarkersError) as error:
            raise CommandError(str(error), returncode=FAILED) from error
        except KeyboardInterrupt as error:
            raise CommandError("Canceled.", returncode=INTERRUPTED) from error
        self._show(report, options)
        if not report.met:
            sys.exit(FAILED)

    def _measure(self, options: dict[str, Any]) -> Report:
        chosen = {family: _measured(family, options[family]) for family in FAMILIES}
        load = _busy(options["threads"])
        if load is not None:
            self.stderr.write(busy(load))
        self.stderr.write("Preparing the true pictures ...")
        world = build_world(ROOT / training_dir() / "cache")
        trials = {task: make_trials(world, task, options["prompts"], options["seed"]) for task in TASKS}
        with RoomClient(_room(options["threads"])) as room, _Watch() as watch:
            families = {family: measure(room, world, found, trials, watch.tell) for family, found in chosen.items()}
        return Report(options["prompts"], options["seed"], options["threads"], families, load)

    def _show(self, report: Report, options: dict[str, Any]) -> None:
        if options["markdown"]:
            self.stdout.write(markdown(report))
        else:
            terminal = Console(file=self.stdout, width=None if sys.stdout.isatty() else WIDTH)  # type: ignore[arg-type]
            terminal.print(table(report))
            terminal.print("\n".join(notes(report)), highlight=False, soft_wrap=True)
        if options["json"]:
            self.stdout.write(json.dumps(report.to_dict()))


class _Watch:
    """How far it is, on stderr: bars on a terminal, else a line for each finished task."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        self._progress = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._bars: dict[tuple[str, Task], TaskID] = {}

    def __enter__(self) -> "_Watch":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def tell(self, name: str, task: Task, done: int, total: int) -> None:
        """One trial more."""
        if (name, task) not in self._bars:
            self._bars[name, task] = self._progress.add_task(f"{name}: {task}", total=total)
        self._progress.update(self._bars[name, task], completed=done)
        if done == total and not self._console.is_terminal:
            self._console.print(f"{name}: {task}, {total} done", highlight=False)


def _busy(threads: int) -> float | None:
    """The load, where it leaves too little for the room's threads."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    return load if load + threads > cores + 0.5 else None


def _measured(family: Family, folder: str | None) -> Measured:
    path = Path(folder) if folder else STARTERS / family
    try:
        facts = inspect_checkpoint(path)
    except EngineError as error:
        raise CommandError(f"{error.message} {error.hint}".strip(), returncode=WRONG_WISH) from error
    if facts.family != family:
        raise CommandError(f"{path} is of the family {facts.family}, not {family}.", returncode=WRONG_WISH)
    name = path.resolve().name if folder else f"starter-{family}"
    return Measured(CheckpointSpec(name, str(path.resolve()), family), facts)


def _room(threads: int) -> RoomSettings:
    """On the CPU, whatever else this machine has: the bars speak of CPU cores."""
    return RoomSettings(
        device="cpu",
        threads=threads,
        stall_seconds=settings.STALL_SECONDS,
        load_seconds=settings.LOAD_SECONDS,
        log_level="CRITICAL",
    )
