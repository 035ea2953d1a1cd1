"""The first drawing with a checkpoint: whatever its headers promise, this shows whether it works here. No torch.

As small and short as the checkpoint allows; how good the picture is plays no part.
"""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from generation.engines.checkpoint_facts import CheckpointFacts
from generation.engines.client import RoomClient
from generation.engines.errors import RoomError
from generation.engines.fragments import Kind, Note, Step, Words
from generation.engines.params import NEEDS_SOURCE, USED, Capability, CheckpointSpec, GenerationParams
from generation.engines.protocol import Figures

PROMPT = "a red cup on a wooden table"
SEED = 7
STEPS = 2
LOOKED_AT = (256, 256)  # the size of a picture for those that draw none


@dataclass(frozen=True, slots=True)
class Trial:
    """What was asked, what came of it (a picture as PNG, or words) and what it took."""

    params: GenerationParams
    picture: bytes
    words: str
    figures: Figures


def try_out(
    room: RoomClient,
    spec: CheckpointSpec,
    facts: CheckpointFacts,
    *,
    tell: Callable[[Note], None] = lambda note: None,
    stepped: Callable[[Step], None] | None = None,
) -> Trial:
    """Draw one picture, or describe one where nothing else can be done. Raises EngineError with the reason."""
    params, picture, words = trial_params(facts), b"", ""
    figures: Figures | None = None
    for reply in room.generate(spec, params, stepped=stepped):
        if isinstance(reply, Note):
            tell(reply)
        elif isinstance(reply, Words):
            words = reply.text
        elif isinstance(reply, Figures):
            figures = reply
        elif reply.kind is Kind.FINAL:
            picture = reply.data
    if figures is None or (params.capability != "describe" and not picture):
        raise RoomError("The engine room gave no picture.")
    return Trial(params, picture, words, figures)


def trial_params(facts: CheckpointFacts) -> GenerationParams:
    """The least that can be asked of this checkpoint."""
    capability: Capability = facts.capabilities[0]
    if "text_to_image" in facts.capabilities:
        capability = "text_to_image"
    width, height = min(facts.sizes, key=lambda size: size[0] * size[1], default=LOOKED_AT)
    steps = min(STEPS, int(facts.defaults.get("steps", STEPS))) if "steps" in USED[facts.family] else None
    return GenerationParams(
        "" if capability == "describe" else PROMPT,
        width,
        height,
        SEED,
        steps=steps,
        strength=1.0 if capability == "image_to_image" else None,  # else few steps are none at all
        capability=capability,
        source=_picture(width, height) if capability in NEEDS_SOURCE else None,
        mask=_picture(width, height) if capability == "inpaint" else None,
    )


def _picture(width: int, height: int) -> bytes:
    """From black to white, so that it does for a mask too."""
    data = BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(data, "PNG")
    return data.getvalue()
