"""Asking: each trial as a wish through the engine room, as a person's request is drawn, and what came back scored.

The checkpoint's own sampling settings are used, nothing is tuned here. Must not import torch: the room does that.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from generation.engines.checkpoint_facts import CheckpointFacts
from generation.engines.client import RoomClient
from generation.engines.encoding import png
from generation.engines.errors import EngineError
from generation.engines.fragments import Kind, Pixels, Words
from generation.engines.params import Capability, CheckpointSpec, GenerationParams
from generation.engines.protocol import EncodedFragment, Figures
from generation.evaluation.scoring import Outcome, score_answer, score_picture
from generation.evaluation.trials import TASKS, Task, Trial
from generation.training.world import CANVAS, World, plain_caption

Tell = Callable[[str, Task, int, int], None]


class NoAnswerError(EngineError):
    """The room ended a wish without a picture or a word."""

    code = "no_answer"


@dataclass(slots=True)
class Measured:
    """What one checkpoint did. Tasks it cannot do have no outcomes."""

    spec: CheckpointSpec
    facts: CheckpointFacts
    outcomes: dict[Task, list[Outcome]] = field(default_factory=dict)
    ways: dict[Task, Capability] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)  # a picture from words, loading not included
    first_seconds: list[float] = field(default_factory=list)  # until its first fragment
    load_seconds: float = 0.0
    device: str = ""

    @property
    def size_on_disk(self) -> int:
        """Bytes of everything that is weights."""
        return sum(file.stat().st_size for file in Path(self.spec.path).rglob("*.safetensors"))


@dataclass(frozen=True, slots=True)
class _Reply:
    picture: Pixels | None
    text: str
    figures: Figures


def way_of(task: Task, facts: CheckpointFacts) -> Capability | None:
    """How this checkpoint does the task; who cannot be told what to change gets the picture and the new caption."""
    ways: dict[Task, tuple[Capability, ...]] = {"describe": ("describe",), "edit": ("edit", "image_to_image")}
    known: tuple[Capability, ...] = ways.get(task, ("text_to_image",))
    return next((way for way in known if way in facts.capabilities), None)


def wish_for(world: World, trial: Trial, way: Capability) -> GenerationParams:
    """The wish of a person who asks for this."""
    words = plain_caption(trial.scene) if way == "image_to_image" else trial.words
    source = None if trial.source is None else png(world.compose(trial.source))
    return GenerationParams(words, CANVAS, CANVAS, trial.seed, capability=way, source=source)


def measure(room: RoomClient, world: World, found: Measured, trials: dict[Task, list[Trial]], tell: Tell) -> Measured:
    """Ask everything this checkpoint can do. Raises EngineError."""
    _warm_up(room, found)
    for task in TASKS:
        if (way := way_of(task, found.facts)) is not None:
            found.ways[task] = way
            found.outcomes[task] = _run(room, world, found, trials[task], tell)
    return found


def _run(room: RoomClient, world: World, found: Measured, trials: Sequence[Trial], tell: Tell) -> list[Outcome]:
    outcomes = []
    for done, trial in enumerate(trials, start=1):
        reply = _ask(room, found.spec, wish_for(world, trial, found.ways[trial.task]))
        outcomes.append(_score(world, trial, reply))
        if trial.source is None:
            figures = reply.figures
            found.seconds.append(figures.total_seconds - figures.load_seconds)
            found.first_seconds.append(figures.first_fragment_seconds - figures.load_seconds)
        tell(found.spec.name, trial.task, done, len(trials))
    return outcomes


def _score(world: World, trial: Trial, reply: _Reply) -> Outcome:
    if trial.task == "describe":
        return score_answer(trial, reply.text)
    if reply.picture is None:
        raise NoAnswerError(f"No picture came for '{trial.words}'.")
    return score_picture(world, trial, reply.picture)


def _warm_up(room: RoomClient, found: Measured) -> None:
    """Loads; no figure counts the first picture."""
    figures = _ask(room, found.spec, GenerationParams("a cat on white", CANVAS, CANVAS, 0)).figures
    found.load_seconds, found.device = figures.load_seconds, figures.device


def _ask(room: RoomClient, spec: CheckpointSpec, wish: GenerationParams) -> _Reply:
    picture, text, figures = None, "", None
    for reply in room.generate(spec, wish):
        if isinstance(reply, Figures):
            figures = reply
        elif isinstance(reply, EncodedFragment):
            picture = _pixels(reply.data) if reply.kind is Kind.FINAL else picture
        elif isinstance(reply, Words):
            text = reply.text
    if figures is None:
        raise NoAnswerError("The engine room gave no figures.")
    return _Reply(picture, text, figures)


def _pixels(data: bytes) -> Pixels:
    with Image.open(BytesIO(data)) as opened:
        return np.asarray(opened.convert("RGB"), dtype=np.uint8)
