"""`manage.py redraw IMAGE`: draw a kept picture once more, and say whether it is the same, byte for byte."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core.models import parse_key
from generation.engines.client import RoomClient
from generation.engines.errors import EngineError
from generation.management.commands.generate import FAILED, room_settings, write
from generation.management.wish import WRONG_WISH
from generation.models import Image
from generation.runner.redrawing import Redrawn, redraw

OTHER = 3  # exit code: it was drawn, and is another picture


class Command(BaseCommand):
    """Decode the codes again where they were kept; draw again by the recipe where not."""

    help = "Draw a kept picture once more and compare it. Exit code 3: it came out differently."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which picture, and where to write it."""
        parser.add_argument("image", help="the picture's id, as in its address /images/ID/")
        parser.add_argument("--output", type=Path, help="write what was drawn into this PNG file")
        parser.add_argument("--json", action="store_true", help="print the outcome as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Find, draw, compare, tell."""
        key = parse_key(options["image"])
        image = key and Image.objects.select_related("request__checkpoint").filter(pk=key).first()
        if not image:
            raise CommandError(f"There is no picture '{options['image']}'.", returncode=WRONG_WISH)
        try:
            with RoomClient(room_settings(options["verbosity"])) as room:
                redrawn = redraw(image, room)
            if options["output"] is not None:
                write(options["output"], redrawn.file)
        except EngineError as error:
            raise CommandError(f"{error.message} {error.hint}".strip(), returncode=FAILED) from error
        except OSError as error:
            raise CommandError(f"{error.filename} cannot be written: {error.strerror}.", returncode=FAILED) from error
        self.stdout.write(json.dumps(report(redrawn)) if options["json"] else sentence(redrawn))
        if not redrawn.same_file and redrawn.same_pixels is not True:
            raise CommandError("This is not the picture that was kept.", returncode=OTHER)


def report(redrawn: Redrawn) -> dict[str, Any]:
    """The outcome without the bytes."""
    return {name: value for name, value in asdict(redrawn).items() if name != "file"}


def sentence(redrawn: Redrawn) -> str:
    """The outcome for people."""
    way = f"Decoded {redrawn.codes} codes" if redrawn.codes else "Drawn again by its recipe"
    if redrawn.same_file:
        return f"{way}: the file is the same, byte for byte."
    if redrawn.same_pixels:
        return f"{way}: the pixels are the same, the file is not (what is written beside them differs)."
    return f"{way}: " + ("the kept file cannot be read." if redrawn.same_pixels is None else "the pixels differ.")
