"""`make load`: a portal with a thousand sockets, streams, requests and readers at once. Figures beside their bars.

Everything is on one machine, the clients too, so the figures are worse than those of a portal that has its machine for
itself. `--write` puts the table into docs/performance.md. SOCKETS, STREAMS, ASKERS, REQUESTS and BROWSERS change the
sizes.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import requests

from tests.bench.report import machine, table, write_page
from tests.bench.rows import Row
from tests.crowd import HTTP_SECONDS, PEOPLE, SESSION, Person, all_done, all_ready
from tests.load.overhead import overhead
from tests.load.reader import Reader
from tests.portal import ROOT, Portal

THINKING = 10.0  # seconds between two pages of one person
RATE, SIZE = 2.0, 40_000  # fragments a second of one stream, bytes of one
THREADS = 1  # of the engine room: the other core is for the portal and everybody here
SILENT = 20  # sockets that never read
MOST_SECONDS = 600.0  # also what a fragment counts as that never came
MEBIBYTE = 1024 * 1024
PROMISES = "import json; from generation.waits import promises_held; print(json.dumps(promises_held()))"


def say(line: str) -> None:
    """Beside the figures, since this takes minutes."""
    sys.stderr.write(f"{time.strftime('%X')} {line}\n")
    sys.stderr.flush()


@dataclass
class Sizes:
    """How much of everything."""

    sockets: int = 1000
    streams: int = 50
    askers: int = 20
    requests: int = 200
    browsers: int = 200
    alone: int = 21  # requests of the first part, one after the other
    pictures: int = 10  # of the comparison with a bare loop; 0 leaves it out

    @classmethod
    def asked_for(cls) -> "Sizes":
        """As the environment says."""
        return cls(**{name: int(os.environ.get(name.upper(), value)) for name, value in vars(cls()).items()})


@dataclass
class Crowd:
    """Who is there, and what they saw."""

    url: str
    people: list[tuple[str, str, str]]  # id, session, project
    pages: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    sender: "subprocess.Popen[bytes] | None" = None

    def person(self, number: int) -> Person:
        """Who asks."""
        _, session, project = self.people[number]
        return Person(session, project, self.url, self.url)

    def reader(self, number: int, *, reads: bool = True) -> Reader:
        """One more socket of a person."""
        reader = Reader(self.url, self.people[number][1], reads)
        self.begin(reader.live())
        return reader

    def begin(self, work: "asyncio._CoroutineLike[None]") -> None:
        """Goes on until the end."""
        self.tasks.add(asyncio.create_task(work))

    async def browse(self, number: int) -> None:
        """One page after the other, with time to look."""
        _, session, project = self.people[number]
        cookies, pages = {SESSION: session}, ("/", "/history/", f"/projects/{project}/")
        await asyncio.sleep(THINKING * number / len(self.people))
        for turn in range(10_000):
            await asyncio.to_thread(self._open, pages[turn % len(pages)], cookies)
            await asyncio.sleep(THINKING)

    def _open(self, page: str, cookies: dict[str, str]) -> None:
        began = time.perf_counter()
        try:
            answer = requests.get(self.url + page, cookies=cookies, timeout=HTTP_SECONDS, allow_redirects=False)
            if answer.status_code != 200:
                self.refused.append(f"{page} {answer.status_code}")
        except requests.RequestException as error:
            self.refused.append(f"{page} {error}")
        self.pages.append(time.perf_counter() - began)

    async def end(self) -> None:
        """All go home."""
        if self.sender is not None and self.sender.poll() is None:
            self.sender.kill()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await asyncio.sleep(1)  # until those that were broken off are closed too


async def alone(crowd: Crowd, sizes: Sizes) -> list[Row]:
    """Nobody else is there: from the click to the first fragment, beyond loading."""
    person, took = crowd.person(0), list[float]()
    crowd.begin(person.watch())
    await all_ready([person], HTTP_SECONDS)
    for number in range(sizes.alone):
        seen, began = len(person.frames), time.perf_counter()
        await asyncio.to_thread(person.ask, "a cat on blue", number)
        while len(person.frames) == seen:
            await asyncio.sleep(0.002)
        took.append(time.perf_counter() - began)
        await all_done([person], HTTP_SECONDS)
        await asyncio.sleep(0.3)
    middle = 1000 * statistics.median(took[1:])  # the first one loads
    row = Row("from the click to the first fragment, p50", middle, 300, "most", "ms", "128x128, 4 steps, nobody else")
    return [row, await overhead(person, THREADS, sizes.pictures)] if sizes.pictures else [row]


async def together(portal: Portal, crowd: Crowd, sizes: Sizes) -> list[Row]:
    """Everybody at once."""
    web = web_of(portal)
    empty = web.memory_info().rss
    streamers = range(sizes.askers, sizes.askers + sizes.streams)
    readers = [crowd.reader(number) for number in streamers]
    first = len(crowd.people) - sizes.browsers
    idle = sizes.sockets - sizes.streams - SILENT
    crowd_readers = [crowd.reader(first + number % sizes.browsers) for number in range(idle)]
    async with asyncio.timeout(MOST_SECONDS):
        await asyncio.gather(*(reader.open.wait() for reader in [*readers, *crowd_readers]))
    opened = web.memory_info().rss
    say(f"{idle + sizes.streams} sockets are open")
    for number in range(SILENT):
        crowd.reader(streamers[number % sizes.streams], reads=False)
    owners = [crowd.people[number][0] for number in streamers]
    sender = crowd.sender = start_streams(portal, MOST_SECONDS, owners)
    for number in range(first, len(crowd.people)):
        crowd.begin(crowd.browse(number))
    askers = [crowd.person(number) for number in range(sizes.askers)]
    for person in askers:
        crowd.begin(person.watch())
    await all_ready(askers, HTTP_SECONDS)
    say("streams, pages and askers have begun")
    crowd.begin(tell(askers, crowd))
    began = time.monotonic()
    for turn in range(sizes.requests):
        await asyncio.to_thread(askers[turn % sizes.askers].ask, "a dog left of a tree on white", turn)
    await all_done(askers, MOST_SECONDS)
    seconds, full = time.monotonic() - began, web.memory_info().rss
    made = await stop_streams(sender)
    completed = sum(len(person.completed) for person in askers)
    held, told = json.loads(await asyncio.to_thread(portal.manage, "shell", "-v", "0", "-c", PROMISES))
    late = sorted(moment for reader in readers for moment in reader.late)
    missing = [MOST_SECONDS] * (made - len(late))
    broke = sum(reader.lost for reader in [*readers, *crowd_readers])
    pages = sorted(crowd.pages)
    return [
        Row("fragment made to received, p99", 1000 * share(late + missing, 0.99), 150, "most", "ms",
            f"of {made} fragments of {SIZE} bytes for {sizes.streams} readers, {RATE:g} a second each; "
            f"p50 {1000 * share(late + missing, 0.5):.0f} ms; one that never came counts as {MOST_SECONDS:g} s"),
        # One that is behind sees the newest only: one in a hundred, as the p99 leaves out.
        Row("fragments received of those made", 100 * len(late) / max(made, 1), 99, "least", "%",
            f"{len(late)} of {made}, all for readers that read"),
        Row("pages, p95", 1000 * share(pages, 0.95), 300, "most", "ms",
            f"{len(pages)} pages of {sizes.browsers} people; p50 {1000 * share(pages, 0.5):.0f} ms"),
        Row("pages refused", len(crowd.refused), 0, "most", "", "; ".join(sorted(set(crowd.refused))[:3])),
        Row("requests completed", completed, sizes.requests, "least", "",
            f"of {sizes.askers} people in {seconds:.0f} s"),
        Row("done within the time that was told for nine of ten", 100 * held / max(told, 1), None, "least", "%",
            f"of the newest {told} requests"),
        Row("sockets that broke", broke, 0, "most", "", f"of {len(readers) + len(crowd_readers)} that read"),
        Row("web process, growth under load", (full - opened) / MEBIBYTE, 100, "most", "MiB",
            f"{SILENT} sockets never read; {empty / MEBIBYTE:.0f} MiB empty, {opened / MEBIBYTE:.0f} MiB with "
            f"{sizes.sockets - SILENT} sockets open"),
    ]  # fmt: skip


async def tell(askers: list[Person], crowd: Crowd) -> None:
    """Now and then how far it is."""
    while True:
        await asyncio.sleep(15)
        asked, done = sum(len(person.own) for person in askers), sum(len(person.completed) for person in askers)
        say(f"{asked} requests accepted, {done} completed, {len(crowd.pages)} pages seen")


def start_streams(portal: Portal, seconds: float, owners: list[str]) -> "subprocess.Popen[bytes]":
    """Until it is ended."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "platform")])
    environment = {**portal.environment(), "DJANGO_SETTINGS_MODULE": "config.settings", "PYTHONPATH": paths}
    command = [sys.executable, "-m", "tests.load.streams", str(seconds), str(RATE), str(SIZE), *owners]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE)


async def stop_streams(sender: "subprocess.Popen[bytes]") -> int:
    """How many fragments it made, once the last of them had time to arrive."""
    sender.terminate()
    said, _ = await asyncio.to_thread(sender.communicate)
    await asyncio.sleep(1)
    return int(said)


def web_of(portal: Portal) -> psutil.Process:
    """The process that serves pages and sockets."""
    return next(one for one in portal.children() if "core.bounded_daphne" in " ".join(one.cmdline()))


def share(ordered: list[float], part: float) -> float:
    """That many of them are no larger."""
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)] if ordered else MOST_SECONDS


async def play(portal: Portal, sizes: Sizes) -> list[Row]:
    """Both parts."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(32))
    count = sizes.askers + sizes.streams + sizes.browsers
    made = json.loads(portal.manage("shell", "-v", "0", "-c", PEOPLE.format(people=count)))
    crowd = Crowd(portal.url, [tuple(one) for one in made])
    try:
        return [*await alone(crowd, sizes), *await together(portal, crowd, sizes)]
    finally:
        await crowd.end()


def last_line(about: dict[str, str | float | int | None], sizes: Sizes, rows: list[Row]) -> str:
    """All of it as JSON, with the sizes: figures of two runs can be compared only where these are the same."""
    much = {**vars(sizes), "silent": SILENT, "fragments_a_second": RATE, "fragment_bytes": SIZE, "threads": THREADS}
    return json.dumps({"about": about, "sizes": much, "rows": [row.to_dict() for row in rows]})


def main() -> int:
    """0 when every bar is met."""
    about, sizes = machine(), Sizes.asked_for()
    with tempfile.TemporaryDirectory() as folder:
        settings = {"TESSERA_THREADS": str(THREADS), "TESSERA_MAX_QUEUED": "100", "TESSERA_LOG_LEVEL": "WARNING"}
        portal = Portal(Path(folder) / "data", settings=settings).start()
        try:
            rows = asyncio.run(play(portal, sizes))
        finally:
            portal.stop()
    for line in [*table(rows), last_line(about, sizes, rows)]:
        sys.stdout.write(f"{line}\n")
    if "--write" in sys.argv:
        write_page(ROOT / "docs" / "performance.md", {"load": rows}, about)
    return 0 if all(row.holds is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
