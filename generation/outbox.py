"""What one socket may be sent: credit, the newest preview per picture, and who is behind. Pure; knows no socket.

Fragments go out in order or not at all: one that finds no credit, or that leaves a gap, marks its request as behind,
and the consumer sends the rest from the live store once there is credit. So nothing is buffered but one preview per
picture, and a client that reads slowly costs the same as one that reads fast.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from generation.engines.fragments import Kind
from generation.events import Frame

CREDIT = 8
PENDING_LIMIT = 16
TRACKS_LIMIT = 256


@dataclass(slots=True)
class Track:
    """How far this socket is with one request. `have` counts per kind and picture, as in the live store."""

    run: int = 0
    have: dict[tuple[Kind, int], int] = field(default_factory=dict)
    behind: bool = False


@dataclass(slots=True)
class Outbox:
    """The books of one socket. `now` is any clock that only grows."""

    sent: int = 0
    acked: int = 0
    waiting_since: float = 0.0
    tracks: dict[uuid.UUID, Track] = field(default_factory=dict)
    previews: dict[tuple[uuid.UUID, int], Frame] = field(default_factory=dict)

    @property
    def credit(self) -> int:
        """How many frames may be sent now."""
        return CREDIT - (self.sent - self.acked)

    def acknowledge(self, count: int, now: float) -> bool:
        """The client has dealt with `count` frames in all. False for news that are none."""
        if not self.acked < count <= self.sent:
            return False
        self.acked = count
        self.waiting_since = now
        return True

    def stalled(self, now: float, seconds: float) -> bool:
        """Whether frames wait for an acknowledgement for longer than `seconds`."""
        return self.sent > self.acked and now - self.waiting_since > seconds

    def offer(self, frame: Frame) -> bool:
        """Whether to send `frame` now. If not, it is pending, known, old, or its request is behind."""
        track = self._track(frame.request, frame.run)
        if frame.run < track.run or frame.sequence < track.have.get((frame.kind, frame.index), 0):
            return False
        if frame.kind is Kind.PREVIEW:
            return self._offer_preview(frame)
        if self.credit < 1 or frame.sequence > track.have.get((frame.kind, frame.index), 0):
            track.behind = True
        return not track.behind

    def took(self, frame: Frame, now: float) -> None:
        """`frame` was sent."""
        track = self._track(frame.request, frame.run)
        track.have[frame.kind, frame.index] = frame.sequence + 1
        if self.sent == self.acked:
            self.waiting_since = now
        self.sent += 1

    def next_preview(self) -> Frame | None:
        """A preview that waited for credit."""
        if self.credit < 1 or not self.previews:
            return None
        return self.previews.pop(next(iter(self.previews)))

    def next_behind(self) -> tuple[uuid.UUID, Track] | None:
        """A request whose frames shall be read from the live store, while there is credit."""
        if self.credit < 1:
            return None
        return next(((key, track) for key, track in self.tracks.items() if track.behind), None)

    def follow(self, request_id: uuid.UUID) -> None:
        """A running request: everything drawn so far is lacking, unless frames of it were sent."""
        if request_id not in self.tracks:
            self._add(request_id, Track(behind=True))

    def rewind(self, request_id: uuid.UUID, run: int, have: Mapping[int, int]) -> None:
        """The client tells what it has: the next fragment it lacks, per picture."""
        known = {(Kind.FRAGMENT, index): sequence for index, sequence in have.items()}
        self._drop_previews(request_id)
        self._add(request_id, Track(run, known, behind=True))

    def forget(self, request_id: uuid.UUID) -> None:
        """The request is final."""
        self.tracks.pop(request_id, None)
        self._drop_previews(request_id)

    def _track(self, request_id: uuid.UUID, run: int) -> Track:
        track = self.tracks.get(request_id)
        if track is None:
            track = self._add(request_id, Track(run))
        elif run > track.run:
            track.run, track.have = run, {}
            self._drop_previews(request_id)
        return track

    def _add(self, request_id: uuid.UUID, track: Track) -> Track:
        self.tracks.pop(request_id, None)
        while len(self.tracks) >= TRACKS_LIMIT:
            self.forget(next(iter(self.tracks)))
        self.tracks[request_id] = track
        return track

    def _offer_preview(self, frame: Frame) -> bool:
        key = (frame.request, frame.index)
        waiting = self.previews.pop(key, None)
        if self.credit > 0:
            return True
        while len(self.previews) >= PENDING_LIMIT:
            del self.previews[next(iter(self.previews))]
        self.previews[key] = waiting if waiting is not None and waiting.sequence > frame.sequence else frame
        return False

    def _drop_previews(self, request_id: uuid.UUID) -> None:
        for key in [key for key in self.previews if key[0] == request_id]:
            del self.previews[key]
