"""Reaches the open sockets of one person from any process. A lost message never fails the caller."""

import logging
import uuid
from collections.abc import Callable
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

logger = logging.getLogger(__name__)


def user_group(user_id: uuid.UUID) -> str:
    """The group of the one person who may see an event."""
    return f"user.{user_id.hex}"


def news_group(user_id: uuid.UUID) -> str:
    """The group of those pages of one person that only want to hear of ends: no frame ever goes there."""
    return f"news.{user_id.hex}"


def push(user_id: uuid.UUID, message: dict[str, Any], *, group: Callable[[uuid.UUID], str] = user_group) -> None:
    """Send to every socket of `user_id` in that group. Never raises."""
    layer = get_channel_layer()
    try:
        send = getattr(layer, "group_send_soon", None) or async_to_sync(layer.group_send)
        send(group(user_id), message)
    except Exception:  # noqa: BLE001 the layer may be any backend, and none may fail a render
        logger.warning("An event to %s was lost", user_id, exc_info=True)


def close_sockets(user_id: uuid.UUID, reason: str) -> None:
    """Close every socket of `user_id` (logout, deactivation, password change)."""
    for group in (user_group, news_group):
        push(user_id, {"type": "studio.close", "reason": reason}, group=group)
