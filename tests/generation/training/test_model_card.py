"""The card of a retrained diffusion starter: what was measured, in the hub's format."""

from generation.training.diffusion.card import POINTS, Figures, card, curve_table
from generation.training.diffusion.look import Score
from generation.training.model_card import NOTICE, table
from generation.training.state import Progress, State


def test_it_says_what_was_measured() -> None:
    stages = {"autoencoder": Progress(gone=1.5, steps=1200, first=0.5, loss=0.05, done=True)}
    figures = Figures(
        nouns=218,
        shown=48,
        packed=1200,
        weights={"unet": ("UNet2DConditionModel", 5_890_000)},
        curves={"denoiser": [(5, 1.0), (10, 0.5)], "autoencoder": [(5, 0.5)]},
        scores={"one object": Score(20, nouns=0.95, grounds=1.0)},
    )
    text = card(State("diffusion", 5, 2.0, stages=stages), figures)
    assert text.startswith("---\nlicense: apache-2.0\nlibrary_name: diffusers\npipeline_tag: text-to-image\ntags: [")
    assert NOTICE in text and "@iconify-json/fluent-emoji` 1.2.7" in text
    assert "1.5 minutes on the CPU, float32, seed 5" in text
    for row in (
        "| autoencoder | 1,200 | 1.5 | 0.500 | 0.050 |",
        "| loss | 1.000 | 0.500 |",
        "| one object | 20 | 100.0% | 95.0% |",
        "| unet | UNet2DConditionModel | 5.89 M |",
    ):
        assert row in text
    assert "![48 prompts by lot" in text and "from step 1,200 on" in text and "{" not in text


def test_a_long_curve_shows_its_ends() -> None:
    heads = curve_table([(step, 1 / step) for step in range(5, 5000, 50)]).splitlines()[0]
    assert heads.count("|") == POINTS + 2
    assert heads.startswith("| step | 5 |") and heads.endswith("| 4,955 |")
    assert curve_table([(5, 1.0)]) == table(["step", "5"], [["loss", "1.000"]])
    assert curve_table([]) == table(["step"], [["loss"]])
