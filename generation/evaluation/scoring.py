"""Scoring one trial: pixels by the world's judge, words by reading them. Must not know who drew or said it."""

from dataclasses import dataclass

import numpy as np

from generation.engines.fragments import Pixels
from generation.evaluation.reading import read_answer
from generation.evaluation.trials import Trial
from generation.training.world import CANVAS, Scene, World, judge


@dataclass(frozen=True, slots=True)
class Outcome:
    """`right` is what the task asks for, `ground` the colour alone, `exact` both and nothing else in the picture."""

    trial: Trial
    right: bool
    ground: bool
    exact: bool
    shown: str  # what was seen or said, for people


def score_picture(world: World, trial: Trial, picture: Pixels) -> Outcome:
    """Of a drawing the objects must be right; of an edit everything, and nothing else may be there.

    And an edit must come nearer to what was asked than to what was handed in: the judge alone, who forgives noise and
    a stray tile, takes a thin object that nobody removed for none.
    """
    if picture.shape != (CANVAS, CANVAS, 3):
        return Outcome(trial, False, False, False, f"a picture of the shape {picture.shape}")
    seen = judge(world, picture, trial.scene)
    changed = trial.source is None or _far(picture, world, trial.scene) < _far(picture, world, trial.source)
    right = seen.exact and changed if trial.task == "edit" else seen.nouns_right
    rest = ("" if seen.rest_empty else ", and something beside") + ("" if changed else ", more as it was than as asked")
    return Outcome(trial, right, seen.ground_right, seen.exact, f"{', '.join(seen.nouns)} on {seen.ground}{rest}")


def _far(picture: Pixels, world: World, scene: Scene) -> float:
    """Mean squared distance of its pixels from the true picture's."""
    return float(((picture.astype(np.float32) - world.compose(scene)) ** 2).mean())


def score_answer(trial: Trial, text: str) -> Outcome:
    """Objects, relation and colour, told from either object."""
    reading = read_answer(text)
    right = reading is not None and reading.fits(trial.scene)
    return Outcome(trial, right, reading is not None and reading.ground == trial.scene.ground, right, text)
