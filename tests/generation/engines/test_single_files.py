"""Single files in the original layouts: read without settings beside them, drawn as the folder of the same weights."""

import pytest

from generation.engines.inspection import inspect_checkpoint
from tests.generation.engines.drawing import draw, finals, loaded, same
from tests.generation.engines.test_families import wish
from tests.generation.engines.tiny_single import KINDS, Pair

pytestmark = [  # the library's own
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning"),
]


@pytest.fixture(scope="module", params=sorted(KINDS))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return KINDS[request.param].save(tmp_path_factory.mktemp(request.param))


def test_the_facts_are_those_of_the_folder(pair: Pair) -> None:
    facts, wanted = inspect_checkpoint(pair.file), inspect_checkpoint(pair.folder)
    assert sorted(facts.networks) == sorted(wanted.networks)
    assert facts.sizes == wanted.sizes == ((64, 64),)
    assert (facts.family, facts.class_name, facts.capabilities, facts.defaults, facts.schedulers) == (
        wanted.family,
        wanted.class_name,
        wanted.capabilities,
        wanted.defaults,
        wanted.schedulers,
    )


def test_it_draws_the_very_pictures_of_the_folder(pair: Pair) -> None:
    engine, other = loaded(pair.file, "diffusion"), loaded(pair.folder, "diffusion")
    for capability in inspect_checkpoint(pair.file).capabilities:
        asked = wish(pair.folder, capability, steps=3, strength=0.9)
        [ours], [theirs] = finals(draw(engine, 0, **asked)), finals(draw(other, 0, **asked))
        assert same(ours, theirs), capability
        assert ours.pixels.std() > 1
