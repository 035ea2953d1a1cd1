"""What is known of how long checkpoints take here, read from rows into what the policy's forecasts understand."""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from generation.models import Checkpoint, Pace
from generation.policy.forecast import (
    Sample,
    Shape,
    Spread,
    drawing,
    drawing_guess,
    loading,
    loading_guess,
)


def shape_of(checkpoint: Checkpoint, params: Mapping[str, Any], capability: str = "text_to_image") -> Shape:
    """What of a wish decides how long it takes; the checkpoint's own steps where none are named."""
    steps = params.get("steps") or checkpoint.defaults.get("steps") or 1
    return Shape(
        int(params.get("width") or 1),
        int(params.get("height") or 1),
        int(steps),
        int(params.get("count") or 1),
        capability,
    )


@dataclass(slots=True)
class Known:
    """Of one checkpoint: what each device learnt, oldest first, and what else may be guessed from."""

    seconds_per_picture: float | None
    size_bytes: int
    draws: defaultdict[uuid.UUID, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    loads: defaultdict[uuid.UUID, list[float]] = field(default_factory=lambda: defaultdict(list))

    def drawing(self, shape: Shape, device: uuid.UUID | None = None) -> Spread:
        """Device-seconds of drawing, on `device` if it ever drew with this checkpoint, else on any."""
        samples = self.draws.get(device) if device else None
        found = drawing(shape, samples or [one for each in self.draws.values() for one in each])
        return found or drawing_guess(shape, self.seconds_per_picture)

    def loading(self, device: uuid.UUID | None = None) -> Spread:
        """Seconds of loading it where it is not loaded."""
        seconds = self.loads.get(device) if device else None
        found = loading(seconds or [one for each in self.loads.values() for one in each])
        return found or loading_guess(self.size_bytes)


def paces_read(checkpoints: Iterable[Checkpoint]) -> dict[uuid.UUID, Known]:
    """What is known of each of these, in one query."""
    known = {one.pk: Known(one.seconds_per_picture, one.size_bytes) for one in checkpoints}
    for pace in Pace.objects.filter(checkpoint__in=known):
        found = known[pace.checkpoint_id]
        found.draws[pace.device_id] = [Sample(Shape(*shape), seconds) for *shape, seconds in pace.draws]
        found.loads[pace.device_id] = list(pace.loads)
    return known


def loads_read() -> dict[str, Known]:
    """What is known of loading, by the name of the checkpoint; nothing of drawing. One query."""
    known: dict[str, Known] = {}
    rows = Checkpoint.objects.filter(enabled=True).order_by()
    for name, size, device, loads in rows.values_list("name", "size_bytes", "paces__device_id", "paces__loads"):
        found = known.setdefault(name, Known(None, size))
        if device is not None:
            found.loads[device] = list(loads)
    return known
