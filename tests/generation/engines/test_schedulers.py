"""Schedulers by name: each one draws with previews that end in the picture, and none stays for the next request."""

from pathlib import Path

import numpy as np
import pytest

from generation.engines.base import Engine
from generation.engines.errors import InvalidParamsError
from generation.engines.fragments import Fragment
from generation.engines.inspection import inspect_checkpoint
from generation.engines.params import GenerationParams
from generation.engines.schedulers import FOR_FLOW, FOR_NOISE, SCHEDULERS
from tests.generation.engines import tiny
from tests.generation.engines.drawing import draw, loaded, png, same

pytestmark = [
    # the schedulers' own, with the newest numpy
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must:DeprecationWarning"),
]

EDGE = 32
STEPS = 4


@pytest.fixture(scope="module")
def engine(diffusion_folder: Path) -> Engine:
    return loaded(diffusion_folder, "diffusion")


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return loaded(tiny.save_flow(tmp_path_factory.mktemp("checkpoints") / "flow"), "diffusion")


def check(engine: Engine, name: str, **wish: object) -> Fragment:
    *previews, final = draw(engine, EDGE, steps=STEPS, scheduler=name, **wish)
    assert previews
    assert all(np.isfinite(preview.pixels).all() for preview in previews)
    [*_, again] = draw(engine, EDGE, steps=STEPS, scheduler=name, **wish)
    assert same(final, again), "the same seed is the same picture"
    return final


@pytest.mark.parametrize("name", FOR_NOISE)
def test_every_scheduler_for_noise_draws(name: str, engine: Engine) -> None:
    *previews, final = draw(engine, EDGE, steps=STEPS, scheduler=name)
    assert np.abs(previews[-1].pixels.astype(int) - final.pixels).mean() < 1, "the last preview is the picture"
    assert same(final, check(engine, name))
    source = png(np.full((EDGE, EDGE, 3), 90, np.uint8))
    check(engine, name, capability="image_to_image", source=source, strength=0.7)


@pytest.mark.parametrize("name", FOR_FLOW)
def test_every_scheduler_for_a_flow_draws(name: str, flow: Engine) -> None:
    check(flow, name)
    source = png(np.full((EDGE, EDGE, 3), 90, np.uint8))
    check(flow, name, capability="image_to_image", source=source, strength=0.7)


def test_different_schedulers_draw_different_pictures(engine: Engine) -> None:
    finals = {draw(engine, EDGE, steps=STEPS, scheduler=name)[-1].pixels.tobytes() for name in FOR_NOISE}
    assert len(finals) >= len(FOR_NOISE) - 2, "ddim and euler are one method in two spellings, ddpm and euler_a too"


def test_a_scheduler_is_gone_with_its_request(engine: Engine) -> None:
    before = draw(engine, EDGE, steps=STEPS)[-1]
    chosen = draw(engine, EDGE, steps=STEPS, scheduler="dpmpp_2m_sde_karras")[-1]
    after = draw(engine, EDGE, steps=STEPS)[-1]
    assert same(before, after) and not same(before, chosen)
    assert same(before, draw(engine, EDGE, steps=STEPS, scheduler="ddim")[-1]), "its own, asked for by name"


def test_a_name_that_means_nothing_is_refused_with_those_that_do() -> None:
    with pytest.raises(InvalidParamsError, match="no scheduler 'best'") as refused:
        GenerationParams("a cat", 32, 32, 7, scheduler="best")
    assert all(name in refused.value.hint for name in SCHEDULERS)


@pytest.mark.parametrize(
    ("which", "name", "other"), [("engine", "euler_flow", "euler"), ("flow", "euler", "euler_flow")]
)
def test_one_that_the_checkpoint_cannot_use_is_refused_with_those_it_can(
    which: str, name: str, other: str, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(InvalidParamsError, match=f"cannot use the scheduler '{name}'") as refused:
        draw(request.getfixturevalue(which), EDGE, scheduler=name)
    assert f" {other}," in refused.value.hint and f" {name}," not in refused.value.hint


def test_networks_that_predict_the_picture_have_fewer(tmp_path: Path) -> None:
    folder = tiny.save_diffusion(tmp_path / "sample", prediction="sample")
    names = inspect_checkpoint(folder).schedulers
    assert set(FOR_NOISE) - set(names) == {"pndm", "euler_a"}
    engine = loaded(folder, "diffusion")
    for name in names:
        check(engine, name)


def test_a_checkpoint_without_choice_says_so(janus_folder: Path) -> None:
    with pytest.raises(InvalidParamsError, match="cannot use the scheduler 'ddim'") as refused:
        draw(loaded(janus_folder, "multimodal"), 16, scheduler="ddim")
    assert "its own only" in refused.value.hint
