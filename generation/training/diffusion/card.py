"""The model card of a retrained folder, in the hub's format. Words only; the figures are handed in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from generation.training.diffusion.export import GUIDANCE, STEPS
from generation.training.diffusion.look import Score
from generation.training.model_card import ICONS, NOTICE, front, table
from generation.training.state import State
from generation.training.world import COLOURS

FRONT = front("apache-2.0", "diffusers", ("tessera-starter", "icons", "128px"))
POINTS = 12  # of a learning curve

TEXT = """# Tessera's diffusion starter, retrained

A very small stock `StableDiffusionPipeline`: 128 x 128 px pictures of one or two everyday objects on a plain ground.
It proves an installation in seconds. `manage.py train_starter diffusion` trained it from nothing and wrote this card.

![{shown} prompts by lot, first try each](contact-sheet.png)

## Use

    pipe = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    pipe("cat left of pizza on blue", num_inference_steps={steps}, guidance_scale={guidance}).images[0]

Image-to-image and inpaint come from `from_pipe`, unchanged. Any text is accepted; 32 tokens are read.
`preview.json` holds a linear map from latents to colours (32 x 32) for previews, `tessera.json` the steps and guidance
above.

{parts}

## Data and licences

{icons}.
Pictures and captions are made from {nouns} of them by `generation/training/world`. 10 % of the pairs of nouns, and of
the nouns on a ground, are never shown in training. Weights: Apache 2.0, as Tessera. The icons' licence:

{notice}

## Training

{minutes:.1f} minutes on the CPU, float32, seed {seed}, Muon for the hidden matrices and AdamW for the rest, average of
the weights. First and last are the mean losses of the first 5 and the last 10 steps; of the autoencoder and its decoder
the mean absolute error (pixels in -1..1), of the denoiser the squared error of the velocity.

{stages}

## Learning curve

The denoiser, with its text encoder:

{denoiser}

The autoencoder, from step {packed:,} on its decoder alone:

{autoencoder}

## Scores

Scenes that training never saw, plain captions, {steps} steps, guidance {guidance}, read by the judge of
`generation/training/world` (the nearest of {nouns} icons at the asked place). How many are asked goes with the budget.

{scores}

## Limits

It knows {nouns} nouns, {colours} colours, two sizes and four relations, and nothing else; unknown words are read as
pieces and draw something arbitrary. How well it knows them is in the scores: a short training knows next to nothing.
One size of canvas. It cannot describe pictures. It is no measure of what diffusion networks can do.
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of one training."""

    nouns: int
    shown: int  # pictures on the contact sheet
    packed: int  # steps before the decoder went on alone
    weights: Mapping[str, tuple[str, int]]  # part: its class, how many
    curves: Mapping[str, Sequence[tuple[int, float]]]  # stage: steps and losses
    scores: Mapping[str, Score]


def card(state: State, figures: Figures) -> str:
    """The whole README.md."""
    numbers = {"steps": STEPS, "guidance": GUIDANCE, "colours": len(COLOURS), "seed": state.seed}
    measured = {"nouns": figures.nouns, "shown": figures.shown, "packed": figures.packed}
    curves = {name: curve_table(points) for name, points in figures.curves.items()}
    return f"{FRONT}\n" + TEXT.format(
        **numbers,
        **measured,
        **curves,
        icons=ICONS,
        notice=NOTICE,
        minutes=sum(stage.gone for stage in state.stages.values()),
        parts=part_table(figures.weights),
        stages=stage_table(state),
        scores=score_table(figures.scores),
    )


def part_table(weights: Mapping[str, tuple[str, int]]) -> str:
    rows = [[name, kind, f"{count / 1e6:.2f} M"] for name, (kind, count) in weights.items()]
    return table(["part", "class", "weights"], rows)


def stage_table(state: State) -> str:
    rows = [
        [name, f"{stage.steps:,}", f"{stage.gone:.1f}", f"{stage.first:.3f}", f"{stage.loss:.3f}"]
        for name, stage in state.stages.items()
    ]
    return table(["stage", "steps", "minutes", "first", "last"], rows)


def curve_table(points: Sequence[tuple[int, float]]) -> str:
    """At most so many points, the first and the last among them."""
    most = min(POINTS, len(points))
    shown = [points[round(number * (len(points) - 1) / max(1, most - 1))] for number in range(most)]
    return table(["step", *(f"{step:,}" for step, _ in shown)], [["loss", *(f"{loss:.3f}" for _, loss in shown)]])


def score_table(scores: Mapping[str, Score]) -> str:
    rows = [[name, str(score.pictures), f"{score.grounds:.1%}", f"{score.nouns:.1%}"] for name, score in scores.items()]
    return table(["prompts", "pictures", "ground right", "object(s) right"], rows)
