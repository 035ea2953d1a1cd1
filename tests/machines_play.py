"""`make machines`: an installation on several machines loses one of them in the middle. Figures beside their bars.

Two web processes, three clusters with a device each, PostgreSQL, Redis and S3, each with a data folder of its own.
People hold sockets at one web process and ask at the other. `tests/test_machines.py` plays a short form of the same.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests import servers
from tests.bench.rows import Row
from tests.crowd import PEOPLE, Person, all_done, all_ready
from tests.machines import PATIENCE, Machine, Machines

CLUSTERS = 3
WEBS = 2
PAGE = Path(__file__).resolve().parents[1] / "docs" / "operations.md"
SECONDS_EACH = 15.0  # for a request, on a busy machine, before it is given up


@contextmanager
def installation(folder: Path) -> Iterator[tuple[Machines, str]]:
    """All started and alive; gives the machines and the address of their database."""
    with servers.postgres() as (_, database), servers.redis() as (_, redis), servers.bucket() as (_, bucket):
        settings = {
            "TESSERA_DATABASE_URL": database,
            "TESSERA_REDIS_URL": redis,
            "TESSERA_LEASE_SECONDS": "10",
            "TESSERA_MAX_QUEUED": "100",
            "TESSERA_SIDE_BY_SIDE": "1",
            **bucket,
        }
        machines = Machines(folder, settings)
        try:
            for number in range(WEBS):
                machines.web(f"web{number}")
            for number in range(CLUSTERS):
                machines.cluster(f"gpu{number}")
            machines.webs[0].manage("prepare")
            for machine in machines.everyone():
                machine.start()
            alive = "SELECT count(*) FROM generation_device WHERE heartbeat_at IS NOT NULL AND room_pid IS NOT NULL"
            machines.wait(lambda: all(web.is_ready() for web in machines.webs), "both web processes")
            machines.wait(lambda: ask(database, alive)[0][0] == CLUSTERS, "three devices")
            yield machines, database
        finally:
            machines.stop()


def ask(database: str, query: str) -> list[tuple[Any, ...]]:
    """Rows."""
    with psycopg.connect(database) as connection:
        return connection.execute(query.encode()).fetchall()


def play(folder: Path, people: int, requests: int) -> list[Row]:
    """Everything, with so many people and requests in all."""
    with installation(folder) as (machines, database):
        made = json.loads(machines.webs[0].manage("shell", "-v", "0", "-c", PEOPLE.format(people=people)))
        urls = [web.url for web in machines.webs]
        crowd = [
            Person(session, project, urls[at % WEBS], urls[(at + 1) % WEBS])
            for at, (_, session, project) in enumerate(made)
        ]
        began = time.monotonic()
        lost, in_time = asyncio.run(_drama(machines, database, crowd, requests))
        seconds = time.monotonic() - began
        downloaded, refused = _fetch_all(crowd)
        left = [one for machine in machines.everyone() for one in (machine.data / "media").glob("**/*.png")]
        rows = _rows(database, crowd, requests, lost)
        if not in_time:
            sys.stderr.write(machines.logs())
        return [
            *rows,
            Row("pictures that download", downloaded, requests, "least", "", "from the bucket, by either web process"),
            Row("pictures that strangers can download", refused, 0, "most", ""),
            Row("files of pictures on the machines' own disks", len(left), 0, "most", ""),
            Row("from the first request to the last picture", round(seconds, 1), unit="s"),
            Row("pictures a minute", round(60 * requests / seconds, 1), unit=""),
        ]


async def _drama(machines: Machines, database: str, crowd: Sequence[Person], requests: int) -> tuple[int, bool]:
    """Ask, lose a device in the middle of a picture, wait for all. How many it was drawing then; whether all ended."""
    watching = [asyncio.create_task(person.watch()) for person in crowd]
    try:
        await all_ready(crowd, PATIENCE)
        for number in range(requests):
            person = crowd[number % len(crowd)]
            await asyncio.to_thread(person.ask, "a cat left of a pizza on blue", number)
        while sum(len(person.completed) for person in crowd) < requests // 4:
            await asyncio.sleep(0.1)
        lost = await asyncio.to_thread(_kill_while_drawing, machines.clusters[0], database)
        in_time = await all_done(crowd, PATIENCE + SECONDS_EACH * requests)
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    return lost, in_time


def _kill_while_drawing(machine: Machine, database: str) -> int:
    """The machine is gone while it draws; how many requests it had then. None within a minute: gone idle."""
    query = (
        "SELECT count(*) FROM generation_generationrequest r JOIN generation_device d ON r.device_id = d.id "
        "WHERE d.name = 'gpu0' AND r.state IN ('loading', 'running', 'saving')"
    )
    end = time.monotonic() + 60
    while not ask(database, query)[0][0] and time.monotonic() < end:
        time.sleep(0.02)
    machine.power_off()
    return int(ask(database, query)[0][0])


def _fetch_all(crowd: Sequence[Person]) -> tuple[int, int]:
    """Pictures that their owners got, and those that their neighbours got."""
    downloaded = sum(
        person.fetch(image) > 0 for person in crowd for each in person.completed.values() for image in each
    )
    refused = 0
    for person, other in zip(crowd, [*crowd[1:], crowd[0]], strict=True):
        image = next((image for each in person.completed.values() for image in each), None)
        refused += image is not None and len(crowd) > 1 and other.fetch(image) != -404
    return downloaded, refused


def _rows(database: str, crowd: Sequence[Person], requests: int, lost: int) -> list[Row]:
    states = dict(ask(database, "SELECT state, count(*) FROM generation_generationrequest GROUP BY state"))
    images = ask(database, "SELECT count(*), count(DISTINCT request_id) FROM generation_image")[0]
    again = ask(database, "SELECT count(*) FROM generation_generationrequest WHERE attempt > 1 AND state = 'completed'")
    drew = Counter(
        dict(
            ask(
                database,
                "SELECT d.name, count(*) FROM generation_generationrequest r JOIN generation_device d "
                "ON r.device_id = d.id WHERE r.state = 'completed' GROUP BY d.name",
            )
        )
    )
    shown = sum(bool(person.frames.get(key)) for person in crowd for key in person.own)
    return [
        Row("requests completed", states.get("completed", 0), requests, "least", "", f"{states}"),
        Row("requests whose owner's page was told so", sum(len(one.completed) for one in crowd), requests, "least", ""),
        Row("pictures, one for each request", min(images), requests, "least", "", f"{images[0]} rows"),
        Row("more pictures than requests", max(images[0] - requests, 0), 0, "most", ""),
        Row("devices that drew", len(drew), CLUSTERS, "least", "", f"{dict(drew)}"),
        Row("in the hands of the device that was lost", lost, 1, "least", "", "killed in the middle of a picture"),
        Row("of those completed elsewhere", again[0][0], lost, "least", "", "in a second attempt"),
        Row("frames and news that reached a stranger", sum(one.foreign for one in crowd), 0, "most", ""),
        Row("requests whose owner saw it appear", shown, round(0.9 * requests), "least", "", "by at least one frame"),
        Row(
            "sockets that broke",
            sum(max(one.reconnects, 0) for one in crowd),
            unit="",
            remark="0 on a machine that runs",
        ),
    ]


def main() -> int:
    """0 when every bar is met, else 1."""
    people, requests = int(os.environ.get("PEOPLE", "30")), int(os.environ.get("REQUESTS", "300"))
    with tempfile.TemporaryDirectory(prefix="tessera-machines-") as folder:
        rows = play(Path(folder), people, requests)
    from tests.bench.report import machine, table, write_page

    if "--write" in sys.argv:
        write_page(PAGE, {"machines": rows}, machine())
    for line in table(rows):
        sys.stdout.write(line + "\n")
    about = {"about": machine(), "people": people, "requests": requests}
    sys.stdout.write(json.dumps({**about, "rows": [row.to_dict() for row in rows]}) + "\n")
    return 0 if all(row.holds is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
