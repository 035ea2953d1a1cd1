"""`manage.py add_checkpoint PATH`: make the weights in a local folder usable. Says what was found, or why not."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core.errors import TesseraError
from generation.services.checkpoints import checkpoint_register

GIBIBYTE = 1024**3


class Command(BaseCommand):
    """Register a checkpoint."""

    help = "Register the checkpoint in a local folder (as diffusers or transformers save it)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The folder and what people shall read."""
        parser.add_argument("path", help="the folder that holds the checkpoint")
        parser.add_argument("--name", help="short name, letters and dashes; the folder's name when left out")
        parser.add_argument("--title", help="what people read in the picker")
        parser.add_argument("--description", default="", help="one line for people")

    def handle(self, *args: Any, **options: Any) -> None:
        """Register and report."""
        try:
            found = checkpoint_register(
                path=options["path"], name=options["name"], title=options["title"], description=options["description"]
            )
        except TesseraError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{found.title} is ready, as {found.name}.")
        self.stdout.write(f"  folder   {found.path}")
        self.stdout.write(f"  family   {found.family}")
        self.stdout.write(f"  can      {', '.join(found.capabilities).replace('_', ' ')}")
        self.stdout.write(f"  sizes    {', '.join(found.size_labels())}")
        self.stdout.write(f"  weights  {found.size_bytes / GIBIBYTE:.2f} GiB")
