"""How long those who wait will wait: the queue played forward, with this installation's own times. Reads only.

Half of the requests shall be done by the first time, nine of ten by the second. What was promised is kept in the row;
the newest promises say how much the second must be stretched to hold.
"""

import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from django.db.models import QuerySet

from generation import scheduler
from generation.models import Device, GenerationRequest
from generation.paces import Known, paces_read, shape_of
from generation.policy.forecast import Shape, Spread, quantile
from generation.policy.outlook import Served
from generation.queue_state import Loads, resident_of

NEWEST, FEWEST = 100, 10  # promises that are looked at, and how many there must be
QUEUE_DOUBT = 1.5  # what the wait for one's turn may grow to, while nothing better is known
STRETCH = (1.2, 6.0)
OVERHEAD = 2.0  # seconds of beginning and saving
MINUTE, ROUND = 60, 5
# Of a request and its checkpoint, to say how long it takes: every column that is left out makes it quicker.
NEEDED = (
    "params", "capability", "lane", "kept", "checkpoint", "checkpoint__defaults", "checkpoint__draws_together",
    "checkpoint__seconds_per_picture", "checkpoint__size_bytes",
)  # fmt: skip

Spreads = dict[tuple[uuid.UUID, uuid.UUID | None, Shape], Spread]


@dataclass(frozen=True, slots=True)
class Wait:
    """Of one request: its place, and seconds from now until it is done. `loads` of them go for loading.

    Place 0: there is no device for it at the moment; `why` says so.
    """

    place: int
    p50: float
    p90: float
    loads: float
    why: str = ""

    @property
    def words(self) -> str:
        """As pages say it."""
        if not self.place:
            return self.why
        words = f"done in about {told(self.p50)}, at most {told(self.p90)}"
        return f"{words}, {told(self.loads)} of it for loading" if self.loads >= 1 else words


NOWHERE = Wait(0, math.inf, math.inf, 0.0, "waits for a device that has this checkpoint and takes work")
BROKEN = replace(NOWHERE, why="waits until the device works again: it does not at the moment, operators read why")


def waits_read(only: QuerySet[GenerationRequest] | None = None) -> dict[uuid.UUID, Wait]:
    """Of everybody who waits, or of `only` those of them."""
    waiting = (GenerationRequest.objects.queued() if only is None else only).order_by()
    found = list(
        waiting.filter(owner__is_active=True, checkpoint__enabled=True).select_related("checkpoint").only(*NEEDED)
    )
    if not found:
        return {}
    served = scheduler.outlook()
    if not served:
        return dict.fromkeys((row.pk for row in found), _nobody())
    known = paces_read({row.checkpoint_id: row.checkpoint for row in found}.values())
    factor, spreads = stretch(), Spreads()
    return {
        row.pk: _wait(row, served[row.pk], known, factor, spreads) if row.pk in served else NOWHERE for row in found
    }


def _nobody() -> Wait:
    """What is told when no device takes work at all."""
    alive = list(Device.objects.alive())
    return BROKEN if alive and all(one.last_error for one in alive) else NOWHERE


def wait_now(row: GenerationRequest) -> Wait:
    """Of one that is drawn already: as it would have been told to who is served at once."""
    resident = resident_of(row.device) if row.device is not None else frozenset()
    loads = 0.0 if row.checkpoint.name in resident else Loads()(row.device_id, row.checkpoint.name)
    served = Served(row.pk, 1, 0.0, loads, row.device_id)
    return _wait(row, served, paces_read([row.checkpoint]), stretch(), Spreads())


def _wait(
    row: GenerationRequest, served: Served, known: Mapping[uuid.UUID, Known], factor: float, spreads: Spreads
) -> Wait:
    shape = shape_of(row.checkpoint, {**row.params, "count": row.portion}, row.capability)
    pace, device = known[row.checkpoint_id], served.device if isinstance(served.device, uuid.UUID) else None
    key = (row.checkpoint_id, device, shape)
    spread = spreads.setdefault(key, spreads.get(key) or pace.drawing(shape, device))
    loading = pace.loading(device) if served.loads else Spread(0.0, 0.0)
    half = served.starts + served.loads + spread.p50 + OVERHEAD
    most = QUEUE_DOUBT * served.starts + max(loading.p90, served.loads) + spread.p90 + OVERHEAD
    return Wait(served.place, half, max(most, factor * half), served.loads)


def stretch() -> float:
    """How many times what was told for half of the cases nine of ten really took, by the newest promises."""
    ratios = [
        ((done - asked).total_seconds() / max((half - asked).total_seconds(), 1.0), 1.0)
        for asked, half, _, done in _promises()
    ]
    if len(ratios) < FEWEST:
        return STRETCH[0]
    return min(max(quantile(ratios, 0.9), STRETCH[0]), STRETCH[1])


def promises_held() -> tuple[int, int]:
    """How many of the newest requests were done by the second time they were told; and of how many."""
    held = [done <= most for _, _, most, done in _promises()]
    return sum(held), len(held)


def _promises() -> list[tuple[datetime, datetime, datetime, datetime]]:
    # Nearly the order of creation, and there is an index for it: years of requests need not be sorted.
    rows = GenerationRequest.objects.filter(state=GenerationRequest.State.COMPLETED, promised_p90_at__isnull=False)
    newest = rows.order_by("-sort_at").values_list("created_at", "promised_p50_at", "promised_p90_at", "finished_at")
    return [
        (asked, half, most, done) for asked, half, most, done in newest[:NEWEST] if half and most and done is not None
    ]


def told(seconds: float) -> str:
    """Rounded up as people say it: 12 -> "15 s", 100 -> "2 min", 4000 -> "1 h 10 min"."""
    if seconds <= MINUTE - ROUND:
        return f"{max(-(-seconds // ROUND) * ROUND, ROUND):.0f} s"
    minutes = int(-(-seconds // MINUTE))
    if minutes < MINUTE:
        return f"{minutes} min"
    hours, rest = divmod(-(-minutes // 10) * 10, MINUTE)
    return f"{hours} h {rest} min" if rest else f"{hours} h"
