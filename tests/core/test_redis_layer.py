"""Redis between processes: a socket that reads nothing starves nobody, and an outage fails no sender."""

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from config.backends import channel_layers
from core.push import push, user_group
from tests import servers

MESSAGES = 300
FRAME = bytes(20_000)


@pytest.fixture(scope="module")
def redis() -> Iterator[tuple[servers.Server, str]]:
    """A real one."""
    with servers.redis() as found:
        yield found


@pytest.fixture
def layers(redis: tuple[servers.Server, str], settings: Any, tmp_path: Any) -> None:
    """As the settings make it."""
    settings.CHANNEL_LAYERS = channel_layers(tmp_path, redis[1])


@pytest.mark.usefixtures("layers")
async def test_a_stalled_socket_starves_nobody() -> None:
    from channels.layers import get_channel_layer

    layer = get_channel_layer()
    stalled, reader = uuid.uuid4(), uuid.uuid4()
    quiet, channel = await layer.new_channel("stalled"), await layer.new_channel("reader")
    await layer.group_add(user_group(stalled), quiet)
    await layer.group_add(user_group(reader), channel)
    send = sync_to_async(push, thread_sensitive=False)
    for number in range(MESSAGES):
        await send(stalled, {"type": "studio.frame", "frame": FRAME})
        await send(reader, {"type": "studio.frame", "frame": FRAME, "number": number})
    async with asyncio.timeout(60):
        heard = [(await layer.receive(channel))["number"] for _ in range(MESSAGES)]
    assert heard == list(range(MESSAGES))
    await layer.group_discard(user_group(stalled), quiet)
    await layer.group_discard(user_group(reader), channel)


@pytest.mark.usefixtures("layers")
async def test_a_quiet_socket_outlives_the_layers_own_wait() -> None:
    from channels.layers import get_channel_layer

    layer, user = get_channel_layer(), uuid.uuid4()
    channel = await layer.new_channel("quiet")
    await layer.group_add(user_group(user), channel)
    waiting = asyncio.create_task(layer.receive(channel))
    await asyncio.sleep(layer.brpop_timeout + 1.5)
    assert not waiting.done(), waiting
    await sync_to_async(push, thread_sensitive=False)(user, {"type": "studio.text", "event": {}})
    async with asyncio.timeout(30):
        assert (await waiting)["type"] == "studio.text"


def test_a_redis_that_is_away_fails_no_sender(settings: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    from tests.portal import free_port

    settings.CHANNEL_LAYERS = channel_layers(tmp_path, f"redis://127.0.0.1:{free_port()}/0")
    push(uuid.uuid4(), {"type": "studio.text", "event": {}})
    assert "was lost" in caplog.text
