"""The live store in Redis: one hash for each request, gone by itself when its worker is lost.

A field holds the number of the run and one each frame, named "kind-index-sequence". Everybody else's hash is as old as
its request, so there is nothing to sweep.
"""

import functools
import logging
import os
import uuid
from collections.abc import Collection
from typing import Any

import redis
from django.conf import settings
from redis.exceptions import RedisError

from generation.engines.fragments import Kind
from generation.events import FRAME_LIMIT, Frame
from generation.live import have as limits
from generation.live.have import Have, Place, lacking

logger = logging.getLogger(__name__)

SECONDS = 2 * 3600  # without any frame
TIMEOUT = 3.0
RUN, SIZE = b"run", b"size"
# One step for Redis: a worker that lost its lease and speaks late must not clear what its successor drew.
KEEP = """
local run, size = tonumber(redis.call('HGET', KEYS[1], 'run') or '-1'), #ARGV[3]
if run > tonumber(ARGV[1]) then return 0 end
if run < tonumber(ARGV[1]) then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'run', ARGV[1], 'size', 0)
end
if tonumber(redis.call('HGET', KEYS[1], 'size')) + size > tonumber(ARGV[4]) then return -1 end
if ARGV[5] ~= '' then
  local newest = redis.call('HGET', KEYS[1], ARGV[5])
  if newest and tonumber(newest) > tonumber(ARGV[6]) then return 0 end
  if newest then
    local old = ARGV[5] .. '-' .. newest
    redis.call('HINCRBY', KEYS[1], 'size', -redis.call('HSTRLEN', KEYS[1], old))
    redis.call('HDEL', KEYS[1], old)
  end
  redis.call('HSET', KEYS[1], ARGV[5], ARGV[6])
end
redis.call('HINCRBY', KEYS[1], 'size', size - redis.call('HSTRLEN', KEYS[1], ARGV[2]))
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[7])
return 1
"""


def keep(request_id: uuid.UUID, frame: Frame) -> None:
    """Store `frame`; a new run clears the old one. Never raises for Redis' sake."""
    packed = frame.pack()
    track = f"{frame.kind}-{frame.index}"
    newest = track if frame.kind is Kind.PREVIEW else ""
    name = f"{track}-{frame.sequence}"
    try:
        script = _client().register_script(KEEP)
        arguments = [frame.run, name, packed, limits.BYTES_LIMIT, newest, frame.sequence, SECONDS]
        kept = -1 if len(packed) > FRAME_LIMIT else script(keys=[_key(request_id)], args=arguments)
    except RedisError as error:
        logger.warning("A frame of %s was not kept: %s", request_id, error)
        return
    if kept == -1:
        logger.warning("A frame of %s was not kept: too large", request_id)


def missing(request_id: uuid.UUID, *, run: int, have: Have, limit: int | None) -> list[bytes]:
    """What somebody who has `have` of `run` lacks, at most `limit` frames. Another run: everything."""
    try:
        client, key = _client(), _key(request_id)
        names = client.hkeys(key)
        newest = client.hget(key, RUN)
        if newest is None:
            return []
        stored = {place: name for name in names if (place := _place(name)) is not None}
        wanted = lacking(stored, have if int(newest) == run else {}, limit)
        found = client.hmget(key, wanted) if wanted else []
    except RedisError as error:
        logger.warning("What was drawn of %s cannot be read: %s", request_id, error)
        return []
    return [data for data in found if data is not None]  # replaced by a newer preview meanwhile


def drop(request_id: uuid.UUID) -> None:
    """Forget a request that is final."""
    try:
        _client().delete(_key(request_id))
    except RedisError as error:
        logger.warning("What was drawn of %s is left to its end: %s", request_id, error)


def sweep(keep_ids: Collection[uuid.UUID]) -> None:
    """Redis forgets by itself."""


def _key(request_id: uuid.UUID) -> str:
    return f"tessera:live:{request_id.hex}"


def _place(name: bytes) -> Place | None:
    kind, _, rest = name.decode().partition("-")
    index, dash, sequence = rest.partition("-")
    return (Kind(kind), int(index), int(sequence)) if dash else None


def _client() -> Any:
    return _client_of(settings.REDIS, os.getpid())


@functools.lru_cache(maxsize=2)
def _client_of(url: str, pid: int) -> Any:
    return redis.from_url(url, socket_connect_timeout=TIMEOUT, socket_timeout=TIMEOUT)
