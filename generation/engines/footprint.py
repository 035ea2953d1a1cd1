"""How much memory a drawing needs: predicted from settings and headers, better once it was measured. No torch.

Asked by the portal before a wish is queued, and by the room before anything is loaded. What is predicted errs; what
was measured on this kind of device, by this plan and at this size, goes before it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from generation.engines.checkpoint_facts import CheckpointFacts
from generation.engines.inspection import inspect_checkpoint
from generation.engines.params import CheckpointSpec
from generation.engines.plan import MEMORY_RUNGS, Plan
from generation.engines.reading import Settings
from generation.engines.single_settings import understand
from generation.engines.weighing import bytes_as, largest_layer, largest_layer_of, types_of, weigh_types

WIDE = 4  # bytes of a number of working memory, unless a plan says narrower
WIDTH_OF = {"fp32": 4, "bf16": 2, "fp16": 2}
TILE = 512 * 512  # pixels of a tile of a picture decoder
ROWS = 2  # a guided picture is drawn twice: with its words, and without
POSITIONS = 2048  # words and codes of one drawing, at most, that the estimate counts with
GIGABYTE = 1e9


@dataclass(frozen=True, slots=True)
class Footprint:
    """Of one checkpoint.

    `parts`: bytes of each network by type, `layer`: of the largest layer of all, as it is in the file. `decode` and
    `draw`: bytes of working memory per pixel of the canvas (drawing: of one row) in 4-byte numbers, `fixed`: whatever
    the size. `learnt`: measured needs by `learnt_key`.
    """

    parts: dict[str, dict[str, int]] = field(default_factory=dict)
    layer: int = 0
    decode: float = 0.0
    draw: float = 0.0
    fixed: int = 0
    tiles: bool = False
    learnt: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The reverse. Raises TypeError when it is no footprint."""
        return cls(**values)

    def learn(self, key: str, need: int) -> Self:
        """With what was measured; the highest is kept, since the next drawing may need it again."""
        return replace(self, learnt={**self.learnt, key: max(need, self.learnt.get(key, 0))})

    def with_learnt(self, learnt: dict[str, int]) -> Self:
        """With these measurements instead."""
        return replace(self, learnt=learnt)

    def weights(self, plan: Plan) -> int:
        """Bytes of weights that are on the device at once."""
        width = WIDTH_OF.get(plan.precision, WIDE)
        sizes = [bytes_as(types, width) for types in self.parts.values()] or [0]
        if plan.memory == "sequential":
            stored = sum(size for types in self.parts.values() for size in types.values())
            return min(int(self.layer * sum(sizes) / max(stored, 1)), max(sizes))
        return max(sizes) if plan.memory == "components" else sum(sizes)

    def need(self, plan: Plan, width: int, height: int, *, device: str) -> int:
        """Bytes for weights and work."""
        if measured := self._measured(plan, width, height, device):
            return measured
        return self.weights(plan) + self._work(plan, width * height)

    def _measured(self, plan: Plan, width: int, height: int, device: str) -> int:
        """At this size, or by the pixels from the nearest size that was measured; 0 without any."""
        known = dict(self._learnt_by(plan, device))
        if (width, height) in known or not known:
            return known.get((width, height), 0)
        pixels, weights = width * height, self.weights(plan)
        near = min(known, key=lambda size: abs(size[0] * size[1] - pixels))
        return weights + int(max(known[near] - weights, 0) * pixels / (near[0] * near[1]))

    def _learnt_by(self, plan: Plan, device: str) -> Iterator[tuple[tuple[int, int], int]]:
        start = learnt_key(plan, 0, 0, device=device).removesuffix("0x0")
        for key, need in self.learnt.items():
            if key.startswith(start):
                wide, _, high = key.removeprefix(start).partition("x")
                yield (int(wide), int(high)), need

    def _work(self, plan: Plan, pixels: int) -> int:
        tiled = min(pixels, TILE) if self.tiles and plan.uses("tiled") else pixels
        rows = 1 if self.tiles and plan.uses("single") else ROWS
        numbers = max(self.decode * tiled, self.draw * rows * pixels) + self.fixed
        return int(numbers * WIDTH_OF.get(plan.precision, WIDE) / WIDE)


def learnt_key(plan: Plan, width: int, height: int, *, device: str) -> str:
    """Under which a measurement is kept."""
    return f"{device}/{plan.precision}/{plan.memory}/{width}x{height}"


def predict(path: str | Path, facts: CheckpointFacts | None = None) -> Footprint:
    """From the files alone. Raises CheckpointError, FilesUnavailableError."""
    folder = Path(path)
    facts = facts or inspect_checkpoint(folder)
    if facts.networks and folder.is_dir():
        places = {part: folder / part for part in facts.networks}
        parts = {part: dict(weigh_types(place)) for part, place in places.items()}
        decode, draw = _diffusion_work(folder)
        return Footprint(parts, max(map(largest_layer, places.values())), decode, draw, 0, tiles=True)
    if facts.networks:
        single = understand(folder)
        parts = {part: dict(types_of(tensors)) for part, tensors in single.weights.items()}
        decode, draw = _diffusion_work(single.layout.folder)
        return Footprint(parts, max(map(largest_layer_of, single.weights.values())), decode, draw, 0, tiles=True)
    parts = {"network": dict(weigh_types(folder))}
    decode, fixed = _multimodal_work(folder)
    return Footprint(parts, largest_layer(folder), decode, 0.0, fixed)


def footprint_of(spec: CheckpointSpec) -> Footprint:
    """What the portal handed over, else predicted. Raises as `predict`."""
    return Footprint.from_dict(spec.footprint) if spec.footprint else predict(spec.path)


def first_plan(
    footprint: Footprint, plan: Plan, width: int, height: int, *, device: str, gives: int
) -> tuple[Plan | None, int]:
    """The least sparing plan that fits into `gives` bytes, and what it needs; no plan: what the most sparing needs."""
    need = 0
    for rung in MEMORY_RUNGS[MEMORY_RUNGS.index(plan.memory) :]:
        tried = replace(plan, memory=rung)
        need = footprint.need(tried, width, height, device=device)
        if need <= gives:
            return tried, need
    return None, need


def _diffusion_work(folder: Path) -> tuple[float, float]:
    """Bytes per pixel of decoding and of drawing one row, from the widths of the layers nearest to the canvas."""
    stages = _stages(folder / "vae" / "config.json", "block_out_channels") or [128, 256]
    widths = _stages(folder / "unet" / "config.json", "block_out_channels") or [320]
    return _decoder_work(stages), WIDE * 24 * widths[0] / 64


def _multimodal_work(folder: Path) -> tuple[float, int]:
    """Decoding per pixel, and the memory of what was said so far (keys and values of every layer)."""
    config = Settings(folder / "config.json")
    text, picture = config.section("text_config"), config.section("vq_config")
    heads = text.whole("num_attention_heads") or 1
    of_heads = text.whole("num_key_value_heads") or heads
    positions = min(text.whole("max_position_embeddings") or POSITIONS, POSITIONS)
    width = (text.whole("hidden_size") or 0) * of_heads // heads
    cache = WIDE * 2 * (text.whole("num_hidden_layers") or 0) * width * positions * ROWS
    base = picture.whole("base_channels") or 128
    return _decoder_work([base, base * 2]), cache


def _decoder_work(stages: list[int]) -> float:
    return WIDE * (2.0 * stages[0] + 4.0 * stages[min(1, len(stages) - 1)])


def _stages(file: Path, name: str) -> list[int]:
    config = Settings(file) if file.is_file() else Settings(file, {})
    return [width for width in config.items(name) if isinstance(width, int)]
