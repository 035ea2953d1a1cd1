"""Pictures from one process to another: the local layer against channels_redis. `python tests/bench/bench_layer.py`

Prints one JSON object: latency and loss of each layer, and the ratio. Without a redis-server on this machine, or
without the channels_redis package, the ratio is null and the reason is told: not measured is not the same as won.
"""

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "platform"))

from asgiref.sync import async_to_sync  # noqa: E402 the path comes first

SIZE, RATE, GROUP = 200_000, 30, "bench"


def layer_of(kind: str, place: str) -> Any:
    """A layer of this kind; `place` is a folder or the path of a Redis socket."""
    if kind == "local":
        from core.layer import LocalChannelLayer

        return LocalChannelLayer(folder=place)
    from channels_redis.core import RedisChannelLayer

    return RedisChannelLayer(hosts=[f"unix://{place}"], capacity=10_000)


def send(kind: str, place: str, seconds: float) -> None:
    """The other process: pictures at a steady pace, each with the time at which it left."""
    layer = layer_of(kind, place)

    async def work() -> None:
        for number in range(int(seconds * RATE)):
            message = {"type": "x", "n": number, "at": time.monotonic(), "frame": bytes(SIZE)}
            await layer.group_send(GROUP, message)
            await asyncio.sleep(1 / RATE)
        await asyncio.sleep(0.5)

    async_to_sync(work)()


async def measure(kind: str, place: str, seconds: float) -> dict[str, float]:
    """Milliseconds from leaving to arriving, and what was lost."""
    layer = layer_of(kind, place)
    channel = await layer.new_channel()
    await layer.group_add(GROUP, channel)
    listening = asyncio.create_task(layer.receive(channel))
    await asyncio.sleep(0.2)
    command = [sys.executable, __file__, "--send", kind, place, "--seconds", str(seconds)]
    process = subprocess.Popen(command)
    took: list[float] = []
    try:
        while True:
            message = await asyncio.wait_for(listening, 10 if not took else 2)
            took.append((time.monotonic() - message["at"]) * 1000)
            listening = asyncio.create_task(layer.receive(channel))
    except TimeoutError:
        process.wait()
    took.sort()
    if not took:
        raise SystemExit(f"Nothing arrived through {kind}.")
    return {
        "p50_ms": round(took[len(took) // 2], 2),
        "p99_ms": round(took[int(len(took) * 0.99)], 2),
        "lost": int(seconds * RATE) - len(took),
    }


def measure_redis(folder: Path, seconds: float) -> dict[str, float] | str:
    """The same through Redis, or why not."""
    server = shutil.which("redis-server")
    if server is None:
        return "not measured: no redis-server on this machine"
    try:
        import channels_redis  # noqa: F401
    except ImportError:
        return "not measured: channels_redis is not installed"
    path = folder / "redis.sock"
    command = [server, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while not path.exists():
            time.sleep(0.05)
        return asyncio.run(measure("redis", str(path), seconds))
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Both, and the ratio of their medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--send", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.send:
        send(*arguments.send, arguments.seconds)
        return
    with tempfile.TemporaryDirectory() as name:
        local = asyncio.run(measure("local", name, arguments.seconds))
        redis = measure_redis(Path(name), arguments.seconds)
    ratio = round(redis["p50_ms"] / local["p50_ms"], 1) if isinstance(redis, dict) else None
    report = {"picture_bytes": SIZE, "per_second": RATE, "local": local, "redis": redis, "redis_over_local": ratio}
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
