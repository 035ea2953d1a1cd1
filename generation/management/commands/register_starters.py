"""`manage.py register_starters`: the two checkpoints that come with the portal. Harmless when repeated."""

from typing import Any

from django.core.management.base import BaseCommand

from generation.services.checkpoints import starters_register


class Command(BaseCommand):
    """Register the starters."""

    help = "Register the two checkpoints that come with Tessera; follows them when the checkout moved."

    def handle(self, *args: Any, **options: Any) -> None:
        """Register and say which."""
        for checkpoint in starters_register():
            state = "ready" if checkpoint.enabled else f"switched off: {checkpoint.disabled_reason}"
            if options["verbosity"]:
                self.stdout.write(f"{checkpoint.title} ({checkpoint.name}): {state}")
