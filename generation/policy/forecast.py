"""How long a drawing or a loading will take, from those that were timed before: a median and a ninth decile.

Older drawings are scaled to the shape that is asked for (pixels times steps times pictures) and count the less, the
less they are like it. Few or unlike ones make the ninth decile wider, never narrower.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LIKENESS = 0.5  # of the logarithms of pixels and steps: at this distance an older drawing counts for a third
RECENT = 24.0  # drawings after which an older one counts for half
OTHER_CAPABILITY = 0.1
DOUBT = 0.5  # what one single drawing may be wrong by, as a share; shrinks with the root of their number
LEAST_EVIDENCE = 0.25
SECONDS_PER_PICTURE = 10.0  # while nothing was ever drawn
SECONDS_PER_LOADED_GB = 2.0  # from a disk of half a gigabyte a second
LEAST_LOAD = 0.5


@dataclass(frozen=True, slots=True)
class Spread:
    """Seconds: half of the cases take at most `p50`, nine of ten at most `p90`."""

    p50: float
    p90: float


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides how long a drawing takes. `steps` is 1 where a family has none."""

    width: int
    height: int
    steps: int = 1
    count: int = 1
    capability: str = "text_to_image"

    @property
    def units(self) -> float:
        """Pixels times steps of one picture."""
        return float(max(self.width, 1) * max(self.height, 1) * max(self.steps, 1))

    def distance(self, other: "Shape") -> float:
        """0 for the same size and steps."""
        pixels = (self.width * self.height or 1) / (other.width * other.height or 1)
        return abs(math.log(pixels)) + abs(math.log(max(self.steps, 1) / max(other.steps, 1)))


@dataclass(frozen=True, slots=True)
class Sample:
    """One finished request: its shape, and the device-seconds of its drawing without loading."""

    shape: Shape
    seconds: float


def drawing(shape: Shape, samples: Sequence[Sample]) -> Spread | None:
    """Device-seconds of drawing `shape`; `samples` oldest first. None without any."""
    weighed = [
        (_scaled(sample, shape), _likeness(sample, shape) * _recency(age))
        for age, sample in enumerate(reversed(samples))
        if sample.seconds > 0
    ]
    return _spread(weighed)


def loading(seconds: Sequence[float]) -> Spread | None:
    """Seconds of loading a checkpoint, from those of earlier loads, oldest first. None without any."""
    return _spread([(one, _recency(age)) for age, one in enumerate(reversed(seconds)) if one > 0])


def loading_guess(size_bytes: int) -> Spread:
    """For a checkpoint that was never loaded here."""
    seconds = max(LEAST_LOAD, size_bytes / 1e9 * SECONDS_PER_LOADED_GB)
    return Spread(seconds, 3 * seconds)


def drawing_guess(shape: Shape, seconds_per_picture: float | None) -> Spread:
    """For a checkpoint of which only the average is known, or nothing at all."""
    seconds = (seconds_per_picture or SECONDS_PER_PICTURE) * max(shape.count, 1)
    return Spread(seconds, (2 if seconds_per_picture else 4) * seconds)


def _scaled(sample: Sample, shape: Shape) -> float:
    units, count = shape.units / sample.shape.units, max(shape.count, 1) / max(sample.shape.count, 1)
    return sample.seconds * units * count


def _likeness(sample: Sample, shape: Shape) -> float:
    same = 1.0 if sample.shape.capability == shape.capability else OTHER_CAPABILITY
    return same * math.exp(-((sample.shape.distance(shape) / LIKENESS) ** 2)) + 1e-6


def _recency(age: int) -> float:
    return float(0.5 ** (age / RECENT))


def _spread(weighed: list[tuple[float, float]]) -> Spread | None:
    if not weighed:
        return None
    evidence = max(sum(weight for _, weight in weighed), LEAST_EVIDENCE)
    half = quantile(weighed, 0.5)
    return Spread(half, max(quantile(weighed, 0.9), half * (1 + DOUBT / math.sqrt(evidence))))


def quantile(weighed: Iterable[tuple[float, float]], share: float) -> float:
    """The least value below or at which `share` of the weight lies. Values with weights; at least one."""
    ordered = sorted(weighed)
    wanted, seen = share * sum(weight for _, weight in ordered), 0.0
    for value, weight in ordered:
        seen += weight
        if seen >= wanted:
            return value
    return ordered[-1][0]
