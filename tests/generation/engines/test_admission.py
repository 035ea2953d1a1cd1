"""The sentences of admission, with checkpoints that exist on paper only."""

from dataclasses import replace

import pytest

from generation.engines.admission import OTHER, Question
from generation.engines.footprint import Footprint, learnt_key
from generation.engines.plan import Plan

GB = 1_000_000_000
MEGAPIXEL = 1024 * 1024
SIZES = ((512, 512), (768, 768), (1024, 1024), (1536, 1536))
FP32 = Plan("fp32")


def question(**about: object) -> Question:
    """5 GB of weights in one network, and 4.8 GB of work for the decoder at 1024x1024, which cannot be tiled."""
    paper = Footprint({"network": {"F32": 5 * GB}}, layer=5 * GB, decode=4.8 * GB / MEGAPIXEL)
    asked = Question("Big", paper, FP32, (1024, 1024), SIZES, "cuda", 8 * GB)
    return replace(asked, **about)  # type: ignore[arg-type]


def test_what_does_not_fit_is_told_with_figures_and_smaller_sizes() -> None:
    refusal = question().refusal()
    assert refusal is not None
    assert refusal.message == "Big needs 9.8 GB for 1024x1024, this device gives 8.0; smaller: 768x768, 512x512."
    assert (refusal.hint, refusal.smaller) == ("Choose a smaller size.", ((768, 768), (512, 512)))


def test_what_fits_is_admitted_also_by_a_more_sparing_way() -> None:
    assert question(gives=9_800_000_000).refusal() is None
    two = Footprint({"unet": {"F32": 3 * GB}, "text_encoder": {"F32": 2 * GB}}, decode=4.8 * GB / MEGAPIXEL)
    assert question(footprint=two).refusal() is None, "its parts take turns"
    tiled = replace(question().footprint, tiles=True)
    assert question(footprint=tiled).refusal() is None, "the decoder works on tiles"


def test_where_no_size_fits_the_operator_is_told_what_to_do() -> None:
    refusal = question(gives=5 * GB).refusal()
    assert refusal is not None
    assert refusal.message == (
        "Big needs 9.8 GB for 1024x1024, this device gives 5.0, and no size fits: 512x512 needs 6.2 GB."
    )
    assert (refusal.hint, refusal.smaller) == (OTHER, ())
    only = question(gives=5 * GB, sizes=((1024, 1024),)).refusal()
    assert only is not None
    assert only.message == "Big needs 9.8 GB for 1024x1024, this device gives 5.0."


def test_one_that_draws_any_size_is_proposed_parts_of_what_was_asked() -> None:
    refusal = question(sizes=(), size=(1200, 880)).refusal()
    assert refusal is not None
    assert refusal.smaller == ((896, 656), (592, 432), (288, 208))


def test_describing_proposes_no_size() -> None:
    refusal = question(capability="describe", size=(512, 512), gives=5 * GB).refusal()
    assert refusal is not None
    assert refusal.message == "Big needs 6.2 GB to describe a picture, this device gives 5.0."


@pytest.mark.parametrize(
    ("gives", "words"),
    [
        (9_799_999_999, "needs 9.8 GB for 1024x1024, this device gives 9.7;"),
        (5_100_000_000, "needs 9.8 GB for 1024x1024, this device gives 5.1,"),
    ],
)
def test_figures_never_look_as_if_it_fitted(gives: int, words: str) -> None:
    refusal = question(gives=gives).refusal()
    assert refusal is not None
    assert words in refusal.message


def test_small_ones_are_told_in_megabytes() -> None:
    small = Footprint({"network": {"F32": 27_100_000}}, layer=27_100_000)
    refusal = question(footprint=small, gives=1_900_000).refusal()
    assert refusal is not None
    assert refusal.message.startswith("Big needs 28 MB for 1024x1024, this device gives 1 MB,")


def test_what_was_measured_goes_before_what_was_foretold() -> None:
    key = learnt_key(FP32, 1024, 1024, device="cuda")
    assert question(footprint=question().footprint.learn(key, 7 * GB)).refusal() is None
    other = learnt_key(FP32, 1024, 1024, device="cpu")
    assert question(footprint=question().footprint.learn(other, 7 * GB)).refusal() is not None
