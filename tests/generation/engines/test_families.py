"""Every class of pipelines on the list, in tiny form: read from disk as a user has it, and drawn with as it claims."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generation.engines.base import CancelToken, Engine
from generation.engines.diffusion_preview import Previewer, channels_of, decoder_of
from generation.engines.fragments import Fragment, Kind, Note
from generation.engines.inspection import inspect_checkpoint
from generation.engines.params import Capability, GenerationParams
from generation.engines.pipelines import PIPELINES
from generation.engines.source import open_source
from tests.generation.engines.drawing import draw, loaded, pictures, png, same
from tests.generation.engines.tiny_families import FAMILIES

# the libraries' own
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must:DeprecationWarning"),
]
SOURCE, OTHER = (png(picture) for picture in pictures()[::2])


@pytest.fixture(params=sorted(FAMILIES))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return FAMILIES[request.param].save(tmp_path / request.param)


def wish(folder: Path, capability: Capability, **more: Any) -> dict[str, Any]:
    width, height = inspect_checkpoint(folder).sizes[0]
    made = {"capability": capability, "width": width, "height": height, "steps": 2, "strength": 1.0}
    if capability != "text_to_image":
        made["source"] = SOURCE
    if capability == "inpaint":
        made["mask"] = mask(width, height)
    return {**made, **more}


def mask(width: int, height: int) -> bytes:
    """The left half is painted anew."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2] = 255
    return png(pixels)


def test_each_class_on_the_list_has_a_tiny_form() -> None:
    assert set(FAMILIES) == set(PIPELINES)


def test_it_draws_all_that_it_claims(folder: Path) -> None:
    facts = inspect_checkpoint(folder)
    engine = loaded(folder, "diffusion")
    for capability in facts.capabilities:
        check(engine, folder, capability)


def check(engine: Engine, folder: Path, capability: Capability) -> None:
    asked = wish(folder, capability)
    *previews, final = draw(engine, 0, **asked)
    assert final.kind is Kind.FINAL
    assert final.pixels.shape == (asked["height"], asked["width"], 3)
    assert previews and all(fragment.kind is Kind.PREVIEW for fragment in previews)
    tall, wide, _ = previews[-1].pixels.shape
    assert tall * asked["width"] == wide * asked["height"], "a preview has the shape of the picture"
    assert same(draw(engine, 0, **asked)[-1], final), "a seed is a picture"
    assert not same(draw(engine, 0, **{**asked, "seed": 8})[-1], final)
    if capability == "image_to_image":
        assert not same(draw(engine, 0, **{**asked, "strength": 0.5, "source": OTHER})[-1], final)
    if capability == "inpaint":
        assert_kept(asked, final)


def assert_kept(asked: dict[str, Any], final: Fragment) -> None:
    """What the mask protects is that of the source, what it does not is not."""
    source = np.asarray(open_source(SOURCE, asked["width"], asked["height"]))
    half = asked["width"] // 2
    assert np.array_equal(final.pixels[:, half:], source[:, half:])
    assert not np.array_equal(final.pixels[:, :half], source[:, :half])


def test_the_last_clean_latent_is_that_of_the_picture(folder: Path) -> None:
    """Unpacked and scaled as the pipeline itself does it: seen through its own decoder instead of the linear map."""
    engine: Any = loaded(folder, "diffusion")
    capability = inspect_checkpoint(folder).capabilities[0]
    pipeline = engine._pipelines[capability]
    engine._previewer = Previewer(decoder_of(pipeline), channels_of(pipeline.vae))
    *_, preview, final = draw(engine, 0, **wish(folder, capability))
    painted = slice(0, preview.pixels.shape[1] // 2) if capability == "inpaint" else slice(None)
    assert np.abs(preview.pixels.astype(int) - final.pixels)[:, painted].max() <= 2


def test_a_negative_prompt_counts_or_is_said_not_to(folder: Path) -> None:
    engine = loaded(folder, "diffusion")
    asked = wish(folder, inspect_checkpoint(folder).capabilities[0], prompt="cat", seed=7)
    items = list(engine.generate(GenerationParams(**asked, negative_prompt="a dog left of pizza"), CancelToken()))
    ignored = [item for item in items if isinstance(item, Note) and item.kind == "negative.ignored"]
    plain = draw(engine, 0, **asked)[-1]
    assert bool(ignored) == same(items[-1], plain)
