"""One round: requests are accepted, a fault strikes, everything must be well again. What is not is told in words."""

import contextlib
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from django.conf import settings

from generation import storage
from generation.models import GenerationRequest, Image
from generation.services.images import ORPHAN_SECONDS, orphans_sweep
from tests.chaos.stage import PICTURES, ROLES, OverdueError, Stage

if TYPE_CHECKING:
    from tests.chaos.faults import Fault

State = GenerationRequest.State
REPLAYS = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one round. Seconds since the strike: `again` until it answers and a picture is complete, `settled` until every
    accepted request is final; `problems`: what does not hold."""

    fault: str
    again: float
    settled: float
    accepted: int
    problems: tuple[str, ...] = ()


@dataclass
class Round:
    """What a fault works with."""

    stage: Stage
    requests: list[GenerationRequest] = field(default_factory=list)
    struck: float = 0.0
    done_before: set[uuid.UUID] = field(default_factory=set)
    files_before: set[Path] = field(default_factory=lambda: Round.files())
    problems: list[str] = field(default_factory=list)

    def accept(self, count: int = PICTURES) -> GenerationRequest:
        """One more request, which must end well."""
        self.requests.append(self.stage.accept(count=count))
        return self.requests[-1]

    def send(self) -> bool:
        """One more, by the form of the page; false when nobody answers. What is answered has a row, and must end."""
        known = set(GenerationRequest.objects.values_list("pk", flat=True))
        try:
            status = self.stage.visit()
        except OSError:
            status = 0
        made = list(GenerationRequest.objects.exclude(pk__in=known))
        self.requests += made
        if status == 200 and len(made) != 1:
            self.problems.append(f"the page took a wish, and there are {len(made)} rows of it")
        return bool(made)

    def send_many(self) -> None:
        """Until nobody answers, or five."""
        connection = self.stage.connected()
        with connection:
            for _ in range(5):
                if not self.send():
                    break

    def strike(self, action: Callable[[], object]) -> None:
        """Do the harm; the clock runs from here."""
        self.done_before = set(completed())
        self.struck = time.monotonic()
        action()

    def expect(self, request: GenerationRequest, state: str, *, attempts: int) -> None:
        """So it must be now."""
        row = GenerationRequest.objects.get(pk=request.pk)
        if (row.state, row.attempt) != (state, attempts):
            self.problems.append(f"{row.pk} is {row.state} after {row.attempt} attempts, not {state} after {attempts}")

    @staticmethod
    def files() -> set[Path]:
        """Folders of pictures, written or begun, whether they have rows or not."""
        images = Path(settings.MEDIA_ROOT) / storage.IMAGES
        return {found for some in images.iterdir() for found in some.iterdir()} if images.exists() else set()

    @property
    def since(self) -> float:
        """Seconds since the last strike."""
        return time.monotonic() - self.struck


def play(stage: Stage, fault: "Fault") -> Outcome:
    """One round with this fault; anew when the machine stood still in the middle, which proves nothing."""
    for _ in range(REPLAYS):
        stage.stood_still = 0.0
        outcome = _play(stage, fault)
        if not stage.stood_still:
            break
        stage.calm_down()
    return outcome


def _play(stage: Stage, fault: "Fault") -> Outcome:
    now = Round(stage)
    problems = now.problems
    again = settled = float("inf")
    try:
        stage.wait(lambda: stage.family().keys() == set(ROLES), "every process")
        now.accept()
        fault.act(now)
        now.accept()
        stage.wait(lambda: stage.portal.is_ready() and _drawn_since(now), "a picture after the fault")
        again = now.since
        stage.wait(lambda: not _open(now), "every accepted request to end")
        settled = now.since
        stage.wait(lambda: set(stage.family()) == set(ROLES), "every process to be there")
        stage.wait(lambda: not stage.orphans(), "the end of those that were left behind", 30)
    except OverdueError as error:
        problems.append(str(error))
        problems += [f"left behind: {_named(one)}" for one in stage.orphans()]
    problems += [*_outcomes(now, fault), *_pictures(now), *_files()]
    return Outcome(fault.name, round(again, 2), round(settled, 2), len(now.requests), tuple(problems))


def _drawn_since(now: Round) -> bool:
    return bool(set(completed()) - now.done_before)


def completed() -> Iterable[uuid.UUID]:
    """All that ever were."""
    return GenerationRequest.objects.filter(state=State.COMPLETED).values_list("pk", flat=True)


def _open(now: Round) -> bool:
    return GenerationRequest.objects.open().filter(pk__in=[one.pk for one in now.requests]).exists()


def _outcomes(now: Round, fault: "Fault") -> list[str]:
    """All complete, but for as many as may fail; and those have a reason."""
    rows = list(GenerationRequest.objects.filter(pk__in=[one.pk for one in now.requests]))
    found = [f"{len(now.requests) - len(rows)} accepted requests have no row"] if len(rows) != len(now.requests) else []
    failed = [row for row in rows if row.state != State.COMPLETED]
    if len(failed) > fault.failures:
        found += [f"{row.pk} is {row.state} ({row.error_code} {row.error_message})" for row in failed]
    return found + [f"{row.pk} failed without a reason" for row in failed if not row.error_message]


def _pictures(now: Round) -> list[str]:
    """Exactly one set of rows and files for what completed, none for what did not."""
    found = []
    for row in GenerationRequest.objects.filter(pk__in=[one.pk for one in now.requests]):
        images = list(Image.objects.filter(request=row).order_by("index"))
        wanted = range(row.param("count") if row.state == State.COMPLETED else 0)
        if [image.index for image in images] != list(wanted):
            found.append(f"{row.pk} is {row.state} and has pictures {[image.index for image in images]}")
        found += [f"the file of picture {image.pk} is not what its row says" for image in images if not _whole(image)]
    return found


def _whole(image: Image) -> bool:
    with contextlib.suppress(OSError):
        data = storage.picture_path(image).read_bytes()
        return hashlib.sha256(data).hexdigest() == image.sha256 and storage.thumb_path(image).stat().st_size > 0
    return False


def _files() -> list[str]:
    """No file without a row after the sweep, which takes what is a day old: so all are made to look older."""
    for folder in (settings.MEDIA_ROOT / storage.IMAGES).glob("*/*"):
        os.utime(folder, (time.time() - 2 * ORPHAN_SECONDS,) * 2)
    orphans_sweep()
    rows = set(Image.objects.values_list("file", flat=True))
    stored = {file.relative_to(settings.MEDIA_ROOT).as_posix() for file in settings.MEDIA_ROOT.rglob("*.*")}
    thumbs = {file for file in stored if file.endswith(storage.THUMB)}
    found = [f"{file} has no row" for file in sorted(stored - thumbs - rows)]
    return found + [f"{file} is missing" for file in sorted(rows - stored)]


def _named(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return f"{process.pid} {' '.join(process.cmdline())[-120:]} ({process.status()})"
    return str(process.pid)
