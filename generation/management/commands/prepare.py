"""`manage.py prepare`: database, starters, first administrator; nothing is started. For machines that share them."""

from typing import Any

from django.core.management.base import BaseCommand

from generation.management.commands.run import Command as Run


class Command(BaseCommand):
    """What `manage.py run` does before it starts anything."""

    help = "Prepare the database: tables, starters, the first administrator. Before web and clusters start or update."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Changes nothing the second time."""
        start = Run()
        start.stdout = self.stdout
        administrator = start.prepare()
        name = administrator.email if administrator else "nobody; make one with manage.py createsuperuser"
        self.stdout.write(f"The database is ready. Administrator: {name}")
