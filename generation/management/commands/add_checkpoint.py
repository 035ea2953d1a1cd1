"""`manage.py add_checkpoint PATH`: make weights on this machine usable. Says what was found, or why they are refused.

Nothing of the checkpoint runs until its files have been looked at; then it draws one test picture in an engine room.
Only a checkpoint that did is offered to anyone.
"""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from core.errors import TesseraError
from generation.engines.client import RoomClient
from generation.engines.errors import EngineError
from generation.engines.fingerprint import Fingerprint
from generation.engines.fragments import Note
from generation.engines.trial import Trial, try_out
from generation.management.commands.generate import FAILED, room_settings
from generation.management.findings import findings, sentences
from generation.models.checkpoint import Checkpoint, Precision
from generation.services.checkpoints import (
    CheckpointRefusedError,
    Examined,
    checkpoint_examine,
    checkpoint_fingerprint,
    checkpoint_register,
)


class Command(BaseCommand):
    """Examine, sum up, try out, register."""

    help = (
        "Add a checkpoint: a folder as diffusers or transformers save it, or one .safetensors file. It is looked at "
        "without running any of it, then draws a test picture; again for the same name after its files changed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Where it is, what people shall read, how it shall be drawn with."""
        parser.add_argument("path", help="the folder or file that holds the checkpoint")
        parser.add_argument("--name", help="short name, letters and dashes; the folder's name when left out")
        parser.add_argument("--title", help="what people read in the picker")
        parser.add_argument("--description", default="", help="one line for people")
        parser.add_argument("--precision", choices=Precision.values, help="numbers to draw with (default auto)")
        parser.add_argument("--no-test", action="store_true", help="draw no test picture")
        parser.add_argument("--json", action="store_true", help="print the findings as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Exit code 1: refused, with the reason."""
        told = dict[str, Any]()
        try:
            self._add(options, told)
        except (TesseraError, EngineError) as error:
            if options["json"]:
                self.stdout.write(json.dumps({**told, "refused": error.code, "reason": error.message}))
            raise CommandError(f"{error.message} {error.hint}".strip(), returncode=FAILED) from error
        except KeyboardInterrupt as error:
            raise CommandError("Canceled; nothing was added.", returncode=FAILED) from error
        if options["json"]:
            self.stdout.write(json.dumps(told))

    def _add(self, options: dict[str, Any], told: dict[str, Any]) -> None:
        found = checkpoint_examine(path=options["path"], name=options["name"])
        self._tell(options, told, findings(found))
        console = Console(stderr=True)
        columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("Reading every file", total=None)
            fingerprint = checkpoint_fingerprint(
                path=found.path, tell=lambda done, total: progress.update(task, completed=done, total=total)
            )
            self._tell(options, told, {"sha256": fingerprint.sha256})
            if not options["no_test"]:
                trial = _try_out(found, fingerprint, options, progress, task)
                self._tell(options, told, {"test": _trial_report(trial)})
        checkpoint = checkpoint_register(
            path=found.path,
            name=found.name,
            title=options["title"],
            description=options["description"],
            precision=options["precision"],
            fingerprint=fingerprint,
        )
        self._tell(options, told, {"title": checkpoint.title})
        if not options["json"]:
            self.stdout.write(f"{checkpoint.title} is ready, as {checkpoint.name}.")

    def _tell(self, options: dict[str, Any], told: dict[str, Any], news: dict[str, Any]) -> None:
        """At once, so that whoever waits for the next step has something to read."""
        told.update(news)
        if not options["json"]:
            for name, words in sentences(news):
                self.stdout.write(f"  {name:<9}{words}")
            self.stdout.flush()


def _try_out(
    found: Examined, fingerprint: Fingerprint, options: dict[str, Any], progress: Progress, task: TaskID
) -> Trial:
    """Raises CheckpointRefusedError when the room does not draw with it, whatever the reason."""
    known = Checkpoint.objects.filter(name=found.name).values_list("precision", flat=True).first()
    spec = found.spec(fingerprint=fingerprint, precision=options["precision"] or known or Precision.AUTO)

    def tell(note: Note) -> None:
        progress.update(task, description=note.message, completed=0, total=None)

    try:
        with RoomClient(room_settings(options["verbosity"])) as room:
            return try_out(room, spec, found.facts, tell=tell)
    except EngineError as error:
        raise CheckpointRefusedError(
            f"The test picture failed: {error.message}", hint=error.hint, code=error.code
        ) from error


def _trial_report(trial: Trial) -> dict[str, Any]:
    params, figures = trial.params, trial.figures
    return {
        "capability": params.capability,
        "size": [params.width, params.height],
        "load_seconds": figures.load_seconds,
        "seconds": round(figures.total_seconds - figures.load_seconds, 3),
        "peak_memory_bytes": figures.peak_memory_bytes,
        "device": figures.device,
        "precision": figures.precision,
        "memory": figures.memory,
    }
