"""The multimodal starter from nothing to the folder: learn to draw, then to see, then to follow.

Each stage is a `Work` for `generation.training.course`, which holds the clock. `see` and `follow` begin from the folder
that `draw` leaves, and `follow` finds the eyes that `see` left beside its own checkpoints.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from generation.training.course import Stage, Work
from generation.training.folders import draft_of, replace_folder
from generation.training.multimodal.architecture import read_model
from generation.training.multimodal.codebook import Codebook
from generation.training.multimodal.export import export
from generation.training.multimodal.plan import SEEN_AT_ONCE, Plan, following_plan, rate_share
from generation.training.multimodal.seeing import Seer, build_seer
from generation.training.multimodal.trainer import Trainer, build_trainer
from generation.training.multimodal.vocabulary import build_tokenizer
from generation.training.world import EDIT_KINDS, World, all_words

SHARES = {"draw": 0.5, "see": 0.1, "follow": 0.4}  # of the budget
MINUTES = 220.0
SEED = Plan(Path()).seed
BATCH = Plan(Path()).batch
SCORES = 8  # in a stage, while it is trained


class Training:
    """Drawing or following: the trainer, its learning curve, and the folder that it leaves."""

    def __init__(self, trainer: Trainer, output: Path) -> None:
        self.trainer, self.output, self.scored = trainer, output, time.monotonic()

    @property
    def step(self) -> int:
        """Steps of this stage."""
        return self.trainer.step

    def advance(self, spent: float) -> float:
        """One step, and a point of the learning curve when it is time."""
        plan = self.trainer.plan
        gone = spent * plan.minutes
        self.trainer.minutes = gone
        loss = self.trainer.train_step(rate_share(plan, self.trainer.step, gone))
        if time.monotonic() - self.scored > plan.score_minutes * 60:
            self.trainer.log_score()
            self.scored = time.monotonic()
        return loss

    def save(self) -> None:
        """The checkpoint."""
        self.trainer.save()

    def close(self) -> None:
        """The last point of the curve, and the whole folder in its place."""
        self.trainer.log_score()
        draft = draft_of(self.output)
        export(self.trainer, draft)
        replace_folder(draft, self.output)


class Seeing:
    """The vision tower alone."""

    def __init__(self, seer: Seer) -> None:
        self.seer = seer

    @property
    def step(self) -> int:
        """Steps of this stage."""
        return self.seer.step

    def advance(self, spent: float) -> float:
        """One step."""
        plan = self.seer.plan
        return self.seer.train_step(rate_share(plan, self.seer.step, spent * plan.minutes))

    def save(self) -> None:
        """The checkpoint, where following finds it."""
        self.seer.save()

    def close(self) -> None:
        """The checkpoint is what following reads."""


def stages(world: World, folder: Path, output: Path, seed: int, minutes: float) -> Sequence[Stage]:
    """With `minutes` shared out over the three; a short course is scored on few prompts."""
    drawn, following = folder / "drawn", folder / "follow"
    own = {name: minutes * share for name, share in SHARES.items()}
    prompts: dict[str, Any] = {
        "score_prompts": max(2, min(24, round(minutes))),
        "export_prompts": max(len(EDIT_KINDS), min(200, round(2 * minutes))),
    }

    def numbers(stage: str) -> dict[str, Any]:
        return {"seed": seed, "minutes": own[stage], "score_minutes": max(1.0, own[stage] / SCORES)}

    def drawing(resume: bool) -> Work:
        few = {**prompts, "export_prompts": prompts["score_prompts"]}  # its folder is only begun from
        plan = replace(Plan(folder / "draw", batch=BATCH), **numbers("draw"), **few)
        return Training(build_trainer(plan, world, resume=resume), drawn)

    def seeing(resume: bool) -> Work:
        codebook = Codebook.build(world)
        plan = replace(Plan(following), **numbers("see"), batch=SEEN_AT_ONCE)
        model = read_model(drawn, codebook)
        return Seeing(build_seer(plan, codebook, model, build_tokenizer(all_words()), resume=resume))

    def follow(resume: bool) -> Work:
        plan = following_plan(following, drawn, batch=BATCH, **numbers("follow"), **prompts)
        return Training(build_trainer(plan, world, resume=resume), output)

    opening = {"draw": drawing, "see": seeing, "follow": follow}
    return [Stage(name, own[name], opening[name]) for name in SHARES]
