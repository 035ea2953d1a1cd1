"""Registers the generation app: its health probes and its system checks."""

from django.apps import AppConfig


class GenerationConfig(AppConfig):
    """Requests, checkpoints, pictures and projects."""

    name = "generation"
    verbose_name = "Studio"

    def ready(self) -> None:
        """Imports here, since models are not loaded before."""
        from django.core.checks import Tags, register

        from core.health import register_probe
        from generation import checks, probes, sessions

        register(checks.signing)
        register(checks.machines, Tags.database)

        register_probe("database", probes.database)
        register_probe("worker", probes.worker)
        sessions.connect()
