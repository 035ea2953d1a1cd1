"""Registers the generation app: its health probes and its system checks."""

from django.apps import AppConfig


class GenerationConfig(AppConfig):
    """Requests, checkpoints, pictures and projects."""

    name = "generation"
    verbose_name = "Studio"

    def ready(self) -> None:
        """Imports here, since models are not loaded before."""
        from core.health import register_probe
        from generation import probes, sessions

        register_probe("database", probes.database)
        register_probe("worker", probes.worker)
        sessions.connect()
