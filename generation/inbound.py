"""What a browser may say on the studio's socket: small JSON objects, checked here. Knows no socket."""

import json
import re
import uuid
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from django.conf import settings

from core.models import parse_key
from generation.engines.params import MAX_COUNT

MESSAGE_LIMIT = 4096
RATE = 10.0
# What is answered from the database.
COSTS = {"snapshot": 10.0, "resume": 10.0}
# A page that comes back may ask for all that it has open now, and for a little beside; stream.js asks no faster.
WITHOUT_LIMIT = 100  # how many that are when there may be any number
BURST = (settings.MAX_QUEUED or WITHOUT_LIMIT) * COSTS["resume"] + 40.0
_INT_LIMIT = 2**53


class InboundError(ValueError):
    """Not something a browser may say. Its text is sent back."""


@dataclass(slots=True)
class Budget:
    """A token bucket: how much a client may ask."""

    left: float = BURST
    at: float | None = None

    def take(self, now: float, cost: float = 1.0) -> bool:
        """False when the client asks too much."""
        since = now - (now if self.at is None else self.at)
        self.left, self.at = min(BURST, self.left + since * RATE), now
        if self.left < cost:
            return False
        self.left -= cost
        return True


@dataclass(frozen=True, slots=True)
class Resume:
    """Send what I lack of `request`: I have `have[index]` fragments of picture `index`, of `run`."""

    request: uuid.UUID
    run: int = 0
    have: dict[int, int] = field(default_factory=dict)


def parse_news(query: bytes) -> int | None:
    """Of an address like ?news=1790000000000: since when the page wants to hear of ends; None: it wants everything."""
    value = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("news")
    if value is None:
        return None
    return int(value[0]) if re.fullmatch(r"[0-9]{1,14}", value[0]) else 0


def parse(text: str | None) -> dict[str, Any]:
    """One message with a known shape. Raises InboundError."""
    if text is None or len(text) > MESSAGE_LIMIT:
        raise InboundError(f"Send text of at most {MESSAGE_LIMIT} characters.")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise InboundError("That is not JSON.") from None
    if not isinstance(content, dict) or not isinstance(content.get("type"), str):
        raise InboundError("Send an object with a type.")
    return content


def parse_resume(content: dict[str, Any]) -> Resume:
    """Raises InboundError with the same words for a bad id as for an unknown one."""
    request, have = parse_key(content.get("request")), content.get("have", {})
    if request is None:
        raise InboundError("No such request.")
    if not isinstance(have, dict) or len(have) > MAX_COUNT or not all(str(key).isdecimal() for key in have):
        raise InboundError("That is no list of what you have.")
    return Resume(request, parse_int(content.get("run", 0)), {int(key): parse_int(n) for key, n in have.items()})


def parse_int(value: object) -> int:
    """A whole number that is not negative. Raises InboundError."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _INT_LIMIT:
        raise InboundError("That is no number.")
    return value
