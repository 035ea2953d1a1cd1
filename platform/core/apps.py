"""Registers the core app (its static files)."""

from django.apps import AppConfig


class CoreConfig(AppConfig):
    """The foundation."""

    name = "core"
