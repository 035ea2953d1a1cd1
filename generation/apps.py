"""Registers the generation app."""

from django.apps import AppConfig


class GenerationConfig(AppConfig):
    """Requests, checkpoints, pictures and projects."""

    name = "generation"
    verbose_name = "Studio"
