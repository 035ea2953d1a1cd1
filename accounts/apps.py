"""Registers the accounts app."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """People, their sessions and the audit trail."""

    name = "accounts"
