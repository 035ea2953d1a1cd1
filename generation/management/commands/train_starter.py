"""`manage.py train_starter diffusion|multimodal`: one starter anew, from nothing to the folder that the portal loads.

Only reads arguments, shows progress and says how to go on. The import contracts forbid torch in the commands' process,
so the trainer is a child process, see `generation.management.trainer`.
"""

import math
import os
import shlex
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from generation.management.trainer import Screen, Trainer

INTERRUPTED = 130  # as a shell reports Ctrl-C
STARTERS = ("diffusion", "multimodal")


class Command(BaseCommand):
    """Train one starter from nothing."""

    help = "Train a starter from nothing. Ctrl-C saves; --resume goes on, also after a kill."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which one, how long, where."""
        parser.add_argument("starter", choices=STARTERS)
        parser.add_argument("--minutes", type=float, help="training time in all, shared out over the stages")
        parser.add_argument("--steps", type=int, help="so many steps in each stage instead, for a trial")
        parser.add_argument("--seed", type=int, help="the plan's own when left out")
        parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves it to torch")
        parser.add_argument("--resume", action="store_true", help="go on with what was begun")
        parser.add_argument("--folder", help="where data and checkpoints are kept (data/training)")
        parser.add_argument("--output", metavar="FOLDER", help="where the starter is written, in place of the training")

    def handle(self, *args: Any, **options: Any) -> None:
        """Exit codes: 2 a wrong wish or something missing on this machine, 1 training failed, 130 stopped and saved."""
        check(options)
        try:
            with Screen() as screen:
                trainer = Trainer(arguments(options), str(settings.ROOT), loud=options["verbosity"] > 1)
                last = trainer.follow(screen.show)
        except KeyboardInterrupt as error:
            raise CommandError(f"Given up. {how_to_go_on(options)}", returncode=INTERRUPTED) from error
        if last.exit_code == INTERRUPTED:
            raise CommandError(f"{last.text} {how_to_go_on(options)}", returncode=INTERRUPTED)
        if last.exit_code:
            raise CommandError(last.text, returncode=last.exit_code)
        self.stdout.write(last.text)


def check(options: dict[str, Any]) -> None:
    """What can be said before a process is started."""
    for name in ("minutes", "steps"):
        if options[name] is not None and not 0 < options[name] < math.inf:
            raise CommandError(f"--{name} must be more than nothing, and have an end.", returncode=2)
    if options["threads"] < 0:
        raise CommandError("--threads must not be negative.", returncode=2)


def arguments(options: dict[str, Any]) -> list[str]:
    """For the trainer, whose working directory is another: paths as they are meant here."""
    asked = [options["starter"], "--threads", str(options["threads"])]
    for name in ("minutes", "steps", "seed"):
        if options[name] is not None:
            asked += [f"--{name}", str(options[name])]
    folder = options["folder"] or os.environ.get("TESSERA_TRAINING_DIR")
    if folder:
        asked += ["--folder", str(Path(folder).resolve())]
    if options["output"]:
        asked += ["--output", str(Path(options["output"]).resolve())]
    return [*asked, "--resume"] if options["resume"] else asked


def how_to_go_on(options: dict[str, Any]) -> str:
    """The whole command, to be copied."""
    words = [".venv/bin/python", "manage.py", "train_starter", options["starter"], "--resume"]
    for name in ("folder", "output", "threads"):
        if options[name]:
            words += [f"--{name}", str(options[name])]
    return f"Go on: {shlex.join(words)}"
