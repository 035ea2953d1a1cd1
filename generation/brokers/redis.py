"""Doorbells in Redis, for many machines: heard within milliseconds. Lost with Redis, which is harmless for a bell."""

import logging
import time
from typing import Any

from django_q.brokers.redis_broker import Redis
from django_q.signing import BadSignature, SignedPackage
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
LOOK_AT = 5


class RedisBells(Redis):  # type: ignore[misc]
    """django-q2's broker on Redis, which an outage of Redis must not end with the cluster."""

    def dequeue(self) -> Any:
        """The next bell; none when Redis does not answer."""
        try:
            return super().dequeue()
        except RedisError as error:
            logger.warning("No bell could be taken: %s", error)
        time.sleep(PAUSE_SECONDS)
        return None

    def ping(self) -> bool:
        """Whether it answers. No reason not to start: it may answer later."""
        try:
            return bool(self.connection.ping())
        except RedisError as error:
            logger.error("Redis does not answer, so no bell rings until it does: %s", error)
            return False

    def waiting(self) -> list[str]:
        """What the first bells that nobody has taken yet call for."""
        found = []
        for packed in self.connection.lrange(self.list_key, 0, LOOK_AT - 1):
            try:
                found.append(str(SignedPackage.loads(packed)["func"]))
            except (BadSignature, TypeError):
                logger.warning("A bell in Redis was signed with another secret key")
        return found

    def clear(self) -> None:
        """Forget all bells of this queue."""
        self.delete_queue()
