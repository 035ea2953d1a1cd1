"""Whether an open socket may stay: its session, its user and the password they agreed on. Reads only.

A socket resolves its user once, at connect, so everything that ends a session must be told to it or found by asking.
"""

import uuid
from importlib import import_module
from typing import Any

from allauth.account import signals as account_signals
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.signals import user_logged_out
from django.utils.crypto import constant_time_compare

from accounts.models import User
from core.push import close_sockets

_open: dict[uuid.UUID, int] = {}
SOCKETS_LIMIT = 10


def session_holds(session_key: str | None, user_id: uuid.UUID) -> bool:
    """Whether the session still exists and still belongs to an active `user_id` with the same password."""
    if session_key is None:
        return False
    data = import_module(settings.SESSION_ENGINE).SessionStore(session_key).load()
    user = User.objects.filter(pk=user_id, is_active=True).first()
    if user is None or data.get(SESSION_KEY) != str(user.pk):
        return False
    hashes = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    return any(constant_time_compare(data.get(HASH_SESSION_KEY, ""), known) for known in hashes)


def enter(user_id: uuid.UUID) -> bool:
    """Count one more open socket of this process; False when there are enough."""
    if _open.get(user_id, 0) >= SOCKETS_LIMIT:
        return False
    _open[user_id] = _open.get(user_id, 0) + 1
    return True


def leave(user_id: uuid.UUID) -> None:
    """One open socket less."""
    left = _open.pop(user_id, 0) - 1
    if left > 0:
        _open[user_id] = left


def connect() -> None:
    """Listen to what ends sessions. Called once, when the app is ready."""
    user_logged_out.connect(_on_logout, dispatch_uid="sockets-logout")
    for signal in (account_signals.password_changed, account_signals.password_set, account_signals.password_reset):
        signal.connect(_on_password, dispatch_uid="sockets-password")


def _on_logout(sender: object, user: User | None, **kwargs: Any) -> None:
    # Other devices of the same person come back by themselves: their sessions hold.
    if user is not None:
        close_sockets(user.pk, "Logged out.")


def _on_password(sender: object, user: User, **kwargs: Any) -> None:
    close_sockets(user.pk, "The password was changed.")
