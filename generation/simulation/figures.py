"""What came out of a day: swaps, waits of each kind of person, what the devices did."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from generation.policy.forecast import quantile
from generation.simulation.play import Drawn


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds until the drawing begins, loading included; of what is drawn in portions, until the last one does."""

    requests: int
    p50: float
    p95: float
    most: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one day and one policy. `drawing` and `loading` are shares of the devices' time while there was work."""

    requests: int
    swaps: int
    drawing: float
    loading: float
    everybody: Waits
    of: dict[str, Waits]
    passed: float
    """Seconds for which one request, at most, was overtaken because it was not loaded."""
    early_nights: int
    """Pictures of the night that a device took while a request of now waited that no device was about to take."""


def outcome(drawn: Sequence[Drawn], devices: int) -> Outcome:
    """Of at least one request. Requests of the night do not count for `everybody`: they chose to wait."""
    begin, end = min(one.job.waiting.asked_at for one in drawn), max(one.ended for one in drawn)
    spent = max((end - begin) * devices, 1e-9)
    ends = [one for one in drawn if one.last]
    kinds = dict.fromkeys(one.job.kind for one in drawn)
    return Outcome(
        len(ends),
        sum(1 for one in drawn if one.loads),
        sum(one.seconds for one in drawn) / spent,
        sum(one.loads for one in drawn) / spent,
        waits_of(one for one in ends if not one.job.waiting.overnight),
        {kind: waits_of(one for one in ends if one.job.kind == kind) for kind in kinds},
        max(one.passed for one in drawn),
        early_nights(drawn),
    )


def waits_of(drawn: Iterable[Drawn]) -> Waits:
    """All zero for nobody."""
    waits = sorted(one.wait for one in drawn)
    if not waits:
        return Waits(0, 0.0, 0.0, 0.0)
    weighed = [(wait, 1.0) for wait in waits]
    return Waits(len(waits), quantile(weighed, 0.5), quantile(weighed, 0.95), waits[-1])


def early_nights(drawn: Sequence[Drawn]) -> int:
    """Portions of the night that were taken while a request of now waited."""
    now = sorted((one for one in drawn if not one.job.waiting.overnight), key=lambda one: one.taken)
    events = [(one.job.waiting.asked_at, 2, 1) for one in now] + [(one.taken, 0, -1) for one in now]
    events += [(one.taken, 1, 0) for one in drawn if one.job.waiting.overnight]
    waiting = early = 0
    for _, _, change in sorted(events):
        waiting += change
        early += change == 0 and waiting > 0
    return early
