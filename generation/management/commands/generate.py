"""`manage.py generate "a cat on white"`: draw, edit or describe without web, cluster or database, in the same room."""

import json
import re
import time
from argparse import ArgumentParser
from collections.abc import Generator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, cast

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from generation.engines.client import Reply, RoomClient, RoomSettings
from generation.engines.errors import EngineError, InvalidParamsError
from generation.engines.fragments import Kind, Note, Step, Words
from generation.engines.protocol import EncodedFragment, Figures
from generation.engines.provenance import png_with_recipe
from generation.management.wish import WRONG_WISH, CommandWish, read_wish
from generation.runner.room_settings import settings_of

FAILED = 1
INTERRUPTED = 130  # as a shell reports Ctrl-C
CANCEL_SECONDS = 2.0
MEBIBYTE = 1024 * 1024
FRAGMENT = re.compile(r"\d{4,}-picture-\d-(fragment|preview)-\d+\.webp")  # the names that are given below


class Command(BaseCommand):
    """Draw one wish and write the pictures, or tell what a picture shows."""

    help = "Draw pictures without web, cluster or database. The same seed and checkpoint give the same bytes."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The wish, and where its results go."""
        parser.add_argument("prompt", nargs="?", default="", help="what shall be drawn or changed, or a question")
        parser.add_argument(
            "--checkpoint",
            help="a name, a folder or a file; starter-diffusion when left out, to describe starter-multimodal",
        )
        parser.add_argument("--describe", action="store_true", help="tell in words what --image shows, draw nothing")
        parser.add_argument("--output", help="PNG file, picture.png when left out; several become NAME-1.png ...")
        parser.add_argument("--fragments", metavar="DIR", help="write each fragment as it comes into this folder")
        parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
        parser.add_argument("--seed", type=int, help="a random one when left out")
        parser.add_argument("--count", type=int, default=1)
        parser.add_argument("--width", type=int)
        parser.add_argument("--height", type=int)
        parser.add_argument("--steps", type=int)
        parser.add_argument("--guidance", type=float)
        parser.add_argument("--temperature", type=float)
        parser.add_argument("--scheduler", help="how the noise is taken away, as euler_a or dpmpp_2m_karras")
        parser.add_argument(
            "--lora",
            action="append",
            default=[],
            metavar="PATH[:WEIGHT]",
            help="a LoRA file and how strongly it counts, 1 when left out; several may be given",
        )
        parser.add_argument("--negative", default="", help="what shall not be seen")
        parser.add_argument("--image", metavar="FILE", help="a picture to begin from, to change or to describe")
        parser.add_argument("--mask", metavar="FILE", help="repaint --image only where this picture is white")
        parser.add_argument("--strength", type=float, help="how far to go from that picture, up to 1")

    def handle(self, *args: Any, **options: Any) -> None:
        """Check, draw, write, report. Exit codes: 2 a wrong wish, 1 it could not be drawn, 130 interrupted."""
        wish = read_wish(options)
        artist = Artist(wish, _folder(options["fragments"]), room_settings(options["verbosity"]))
        try:
            artist.draw()
        except InvalidParamsError as error:
            raise CommandError(f"{error.message} {error.hint}".strip(), returncode=WRONG_WISH) from error
        except EngineError as error:
            raise CommandError(f"{error.message} {error.hint}".strip(), returncode=FAILED) from error
        except OSError as error:
            raise CommandError(f"{error.filename} cannot be written: {error.strerror}.", returncode=FAILED) from error
        except KeyboardInterrupt as error:
            raise CommandError("Canceled.", returncode=INTERRUPTED) from error
        report = artist.report()
        words = report["text"] if options["describe"] else sentence(report)
        self.stdout.write(json.dumps(report) if options["json"] else words)


class Artist:
    """Draws one wish in a room of its own and writes what comes."""

    def __init__(self, wish: CommandWish, fragments: Path | None, room: RoomSettings) -> None:
        self._wish = wish
        self._fragments = fragments
        self._room = room
        self._written: list[Path] = []
        self._shown = 0
        self._start_seconds = 0.0
        self._figures: Figures | None = None
        self._text: str | None = None

    def draw(self) -> None:
        """Raises EngineError, OSError, KeyboardInterrupt; the room is gone afterwards in any case."""
        console = Console(stderr=True)
        columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("Opening the engine room", total=None)
            with RoomClient(self._room) as room:
                began = time.perf_counter()
                room.start()
                self._start_seconds = time.perf_counter() - began
                replies = room.generate(self._wish.spec, self._wish.params, stepped=partial(self._step, progress, task))
                with closing(cast("Generator[Reply]", replies)):
                    for reply in replies:
                        self._take(reply)
                        progress.update(task, **self._progress(reply))

    def report(self) -> dict[str, Any]:
        """The figures, and what was written."""
        if self._figures is None:
            raise CommandError("The engine room gave no figures.", returncode=FAILED)
        told = {} if self._text is None else {"text": self._text}
        return {
            **told,
            **self._figures.to_dict(),
            "start_seconds": round(self._start_seconds, 3),
            "seed": self._wish.params.seed,
            "fragments": self._shown,
            "files": [str(file) for file in self._written],
        }

    def _take(self, reply: Reply) -> None:
        if isinstance(reply, Figures):
            self._figures = reply
        elif isinstance(reply, Words):
            self._text = reply.text
        elif isinstance(reply, EncodedFragment) and reply.kind is Kind.FINAL:
            self._keep(self._wish.file(reply.index), png_with_recipe(reply.data, self._wish.recipe(reply)))
        elif isinstance(reply, EncodedFragment):
            self._shown += 1
            if self._fragments is not None:
                name = f"{self._shown:04}-picture-{reply.index + 1}-{reply.kind}-{reply.sequence}.webp"
                write(self._fragments / name, reply.data)

    def _keep(self, file: Path, data: bytes) -> None:
        write(file.resolve(), data)  # a link stays, and what it leads to is replaced
        self._written.append(file)

    def _step(self, progress: Progress, task: TaskID, step: Step) -> None:
        progress.update(task, **self._bar(step.index, step.step, step.steps))

    def _progress(self, reply: Reply) -> dict[str, Any]:
        if isinstance(reply, Note):
            return {"description": reply.message}
        if not isinstance(reply, EncodedFragment):
            return {}
        return self._bar(reply.index, reply.step, reply.steps)

    def _bar(self, index: int, step: int, steps: int) -> dict[str, Any]:
        return {
            "description": "Describing" if self._wish.params.capability == "describe" else "Drawing",
            "completed": index * steps + step,
            "total": steps * self._wish.params.count,
        }


def room_settings(verbosity: int) -> RoomSettings:
    """As the portal's own; its log is shown only to those who ask with --verbosity 2."""
    return settings_of(cancel_seconds=CANCEL_SECONDS, log_level="INFO" if verbosity > 1 else "CRITICAL")


def sentence(report: dict[str, Any]) -> str:
    """The figures as one line."""
    return (
        f"{', '.join(report['files'])}: load {report['load_seconds']:.2f} s, "
        f"first fragment {report['first_fragment_seconds']:.2f} s, total {report['total_seconds']:.2f} s, "
        f"peak memory {report['peak_memory_bytes'] / MEBIBYTE:.0f} MiB on {report['device']}, seed {report['seed']}"
    )


def write(file: Path, data: bytes) -> None:
    """All of it or nothing. Raises OSError that names `file`."""
    draft = file.with_name(f".{file.name}.part")  # nobody finds half a picture under the name they asked for
    try:
        draft.write_bytes(data)
        draft.replace(file)
    except OSError as error:  # a full disk is told without a name
        raise OSError(error.errno, error.strerror, str(file)) from error
    finally:
        draft.unlink(missing_ok=True)


def _folder(name: str | None) -> Path | None:
    """Without what an earlier run left: two drawings must not mix. Other files stay."""
    if name is None:
        return None
    try:
        Path(name).mkdir(parents=True, exist_ok=True)
        for file in Path(name).iterdir():
            if FRAGMENT.fullmatch(file.name):
                file.unlink()
    except OSError as error:
        raise CommandError(f"{name} cannot be used for fragments: {error.strerror}.", returncode=WRONG_WISH) from error
    return Path(name)
