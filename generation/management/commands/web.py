"""`manage.py web`: one web process alone, for a service manager, or beside others behind a proxy."""

import os
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from generation.checks import machines_tell
from generation.management.commands.run import require_free_port, web


class Command(BaseCommand):
    """Becomes daphne: signals reach it as if it had been started itself."""

    help = "Start one web process: pages, pictures, sockets. Several need TESSERA_DATABASE_URL and TESSERA_REDIS_URL."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """So that one settings file serves several."""
        parser.add_argument("--port", type=int, default=settings.PORT, help="instead of TESSERA_PORT")

    def handle(self, *args: Any, **options: Any) -> None:
        """Never returns."""
        require_free_port(settings.HOST, options["port"])
        machines_tell()
        child = web(options["port"])
        os.execve(child.command[0], list(child.command), dict(child.environment))  # noqa: S606 our own command line
