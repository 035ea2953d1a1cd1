"""Chooses who is served next and claims the request. No tensors and no events here.

The policy is plain Python on small dataclasses: owners take turns (the one served longest ago first), an owner's own
requests go oldest first, and a checkpoint that is already loaded is preferred - within bounds, so that nobody starves.
"""

import uuid
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice, zip_longest

from django.conf import settings
from django.db import transaction
from django.db.models import F, Max
from django.utils import timezone

from generation.models import Device, GenerationRequest

LOOK_AHEAD = 8
PATIENCE = timedelta(seconds=60)
NEVER = datetime.min.replace(tzinfo=UTC)
RACES = 20

# When a request was first passed over for one whose checkpoint was loaded. Forgetting it on a restart is harmless.
_passed_over: dict[uuid.UUID, datetime] = {}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A queued request, as far as the policy cares."""

    id: uuid.UUID
    owner: uuid.UUID
    checkpoint: str
    created_at: datetime
    capability: str = ""
    attempt: int = 0
    pictures: int | None = None  # none asked for: one


@dataclass(slots=True)
class Line:
    """Everybody who waits, and when each owner was last served."""

    queues: dict[uuid.UUID, deque[Candidate]]
    served: MutableMapping[uuid.UUID, datetime] = field(default_factory=dict)

    @classmethod
    def of(cls, candidates: Iterable[Candidate], served: Mapping[uuid.UUID, datetime]) -> "Line":
        """Sort candidates into one queue per owner."""
        queues: defaultdict[uuid.UUID, deque[Candidate]] = defaultdict(deque)
        for candidate in sorted(candidates, key=lambda one: (one.created_at, one.id)):
            queues[candidate.owner].append(candidate)
        return cls(dict(queues), dict(served))

    def fair_order(self) -> Iterator[Candidate]:
        """Round by round: everybody's oldest, then everybody's second ..."""
        queues = (queue for queue in self.queues.values() if queue)
        turns = sorted(queues, key=lambda queue: (self.served.get(queue[0].owner, NEVER), queue[0].created_at))
        for turn in zip_longest(*turns):
            yield from (candidate for candidate in turn if candidate is not None)

    def choose(
        self, resident: Iterable[str], now: datetime, passed_over: Mapping[uuid.UUID, datetime]
    ) -> tuple[Candidate | None, list[Candidate]]:
        """The next one, and those it overtakes because its checkpoint is loaded.

        Nobody is overtaken for longer than PATIENCE, nor by anyone who stands more than LOOK_AHEAD places behind.
        """
        loaded, ahead = set(resident), list(islice(self.fair_order(), LOOK_AHEAD))
        for place, candidate in enumerate(ahead):
            if candidate.checkpoint in loaded:
                return candidate, ahead[:place]
            if now - passed_over.get(candidate.id, now) >= PATIENCE:
                break
        return (ahead[0], []) if ahead else (None, [])

    def serve(self, candidate: Candidate, now: datetime) -> None:
        """Take `candidate` out; its owner was served now."""
        self.queues[candidate.owner].remove(candidate)
        self.served[candidate.owner] = now


def claim_next(device: Device, resident: Iterable[str]) -> GenerationRequest | None:
    """Claim a request for `device` by compare-and-swap, its attempt counted; None when nothing can be served."""
    loaded = list(resident)
    for _ in range(RACES):
        if Device.objects.filter(pk=device.pk, paused=True).exists():
            return None
        line, now = waiting_line(), timezone.now()
        chosen, overtaken = line.choose(loaded, now, _passed_over)
        if chosen is None:
            return None
        if claimed := _claim(chosen, device, now):
            _remember(line, overtaken, now)
            return claimed
    return None


def claim_companion(device: Device, checkpoint: str, most: int) -> GenerationRequest | None:
    """Claim a request for at most so many pictures, to be drawn beside those of this checkpoint that are drawn now.

    None when by the same policy it is somebody else's turn, so that a sitting ends when others wait. Who was drawn
    before, and broke off, is drawn alone: it may be what broke, and shall not take others with it twice.
    """
    if Device.objects.filter(pk=device.pk, paused=True).exists():
        return None
    line, now = waiting_line(), timezone.now()
    chosen, overtaken = line.choose([checkpoint], now, _passed_over)
    if chosen is None or chosen.checkpoint != checkpoint or chosen.capability == "describe" or chosen.attempt:
        return None
    if (chosen.pictures or 1) > most:
        return None
    claimed = _claim(chosen, device, now)
    if claimed is not None:
        _remember(line, overtaken, now)
    return claimed


def places(resident: Iterable[str] = ()) -> dict[uuid.UUID, int]:
    """The place of every queued request by the same policy; 1 is next."""
    line, now, loaded = waiting_line(), timezone.now(), list(resident)
    result: dict[uuid.UUID, int] = {}
    while (chosen := line.choose(loaded, now, {})[0]) is not None:
        line.serve(chosen, now + timedelta(microseconds=len(result)))
        result[chosen.id] = len(result) + 1
        loaded = [chosen.checkpoint]
    return result


def waiting_line() -> Line:
    """All who can be served: owners who are active, checkpoints that are enabled."""
    rows = (
        GenerationRequest.objects.queued()
        .filter(owner__is_active=True, checkpoint__enabled=True)
        .values_list("id", "owner_id", "checkpoint__name", "sort_at", "capability", "attempt", "params__count")
    )
    candidates = [Candidate(*row) for row in rows]
    owners = {candidate.owner for candidate in candidates}
    served = (
        GenerationRequest.objects.filter(owner__in=owners, started_at__isnull=False)
        .order_by()
        .values_list("owner_id")
        .annotate(Max("started_at"))
    )
    return Line.of(candidates, dict(served))


def _claim(chosen: Candidate, device: Device, now: datetime) -> GenerationRequest | None:
    # SQLite ignores select_for_update silently, so the row count of a conditional update decides who has it.
    with transaction.atomic():  # who cannot be read after all is not claimed either: nobody would renew the lease
        claimed = GenerationRequest.objects.filter(pk=chosen.id, state=GenerationRequest.State.QUEUED).update(
            state=GenerationRequest.State.LOADING,
            version=F("version") + 1,
            attempt=F("attempt") + 1,
            run=F("run") + 1,
            device=device,
            lease_token=uuid.uuid4(),
            lease_until=now + timedelta(seconds=settings.LEASE_SECONDS),
            started_at=now,
            step=0,
            steps=0,
        )
        if claimed != 1:
            return None
        return GenerationRequest.objects.select_related(
            "owner", "project", "checkpoint", "source_image", "source_upload"
        ).get(pk=chosen.id)


def _remember(line: Line, overtaken: list[Candidate], now: datetime) -> None:
    waiting = {candidate.id for queue in line.queues.values() for candidate in queue}
    for gone in set(_passed_over) - waiting:
        del _passed_over[gone]
    for candidate in overtaken:
        _passed_over.setdefault(candidate.id, now)
