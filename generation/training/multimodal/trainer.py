"""The trainer: one loop, resumable after a kill at any moment, that leaves an average of the weights to export.

Checkpoints are written aside and renamed, so the last whole one always survives. Time is the budget (`minutes`): the
learning rate holds and falls over the last part of a run. Knows nothing of commands and of the web.
"""

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import JanusForConditionalGeneration, PreTrainedTokenizerFast

from generation.training.multimodal.architecture import (
    build_model,
    drawing_parameters,
    read_model,
    seeing_parameters,
)
from generation.training.multimodal.batches import Batch
from generation.training.multimodal.codebook import Codebook
from generation.training.multimodal.describing import score_all
from generation.training.multimodal.heads import can_follow, with_following_heads
from generation.training.multimodal.optimizers import build_optimizers
from generation.training.multimodal.plan import Plan, rate_share
from generation.training.multimodal.seeing import SEEN, load_seeing
from generation.training.multimodal.tasks import sample_steps, task_loss
from generation.training.multimodal.vocabulary import build_tokenizer
from generation.training.world import World, all_words

CHECKPOINT, CURVE = "checkpoint.pt", "curve.jsonl"
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Trainer:
    """Everything that a checkpoint holds, and the loop over it."""

    plan: Plan
    codebook: Codebook
    tokenizer: PreTrainedTokenizerFast
    model: JanusForConditionalGeneration
    optimizers: tuple[Optimizer, ...]
    parameters: dict[str, nn.Parameter]
    average: dict[str, Tensor]
    rng: Random
    step: int = 0
    pictures: int = 0
    minutes: float = 0.0  # trained in all, over resumes
    losses: list[float] = field(default_factory=list)
    latest: list[float] = field(default_factory=list)  # the last step's loss, by task
    waiting: list[list[Batch]] = field(default_factory=list)

    def train(self) -> None:
        """Run for `plan.minutes`, then save; stop it whenever you like and resume."""
        begun = saved = scored = time.monotonic()
        before = self.minutes
        while (gone := (time.monotonic() - begun) / 60) < self.plan.minutes:
            self.minutes = before + gone
            self.train_step(rate_share(self.plan, self.step, gone))
            now = time.monotonic()
            if self.step % 20 == 0:
                done = (self.step, self.pictures, self.minutes, self.loss, [round(part, 4) for part in self.latest])
                _log.info("step %d, %d pictures, %.1f min, loss %.4f, of which each task last had %s", *done)
            if now - scored > self.plan.score_minutes * 60:
                self.log_score()
                scored = time.monotonic()
            if now - saved > self.plan.save_minutes * 60:
                self.save()
                saved = time.monotonic()
        self.log_score()
        self.save()

    @property
    def loss(self) -> float:
        """The mean of the last steps."""
        return sum(self.losses) / max(1, len(self.losses))

    def train_step(self, share: float = 1.0) -> float:
        """One batch of each task; `share` scales the learning rates."""
        if not self.waiting:
            self.waiting = sample_steps(self.codebook, self.tokenizer, self.rng, self.plan.parts(self.step))
        self.latest = []
        for batch in self.waiting.pop():
            loss = task_loss(self.model, batch, self.codebook.mosaic.empty) * (len(batch.answers) / self.plan.batch)
            loss.backward()  # type: ignore[no-untyped-call]
            self.latest.append(loss.item())
        nn.utils.clip_grad_norm_(list(self.parameters.values()), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base"] * share
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.pictures += self.plan.batch
        self._follow()
        self.losses = [*self.losses[-19:], sum(self.latest)]
        return self.losses[-1]

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average; early on it follows quickly, or it would remember the random beginning."""
        weight = 1 - min(self.plan.average, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.values()), [self.parameters[name] for name in self.average], weight)

    def averaged(self) -> Iterator[JanusForConditionalGeneration]:
        """Lend the model with the averaged weights in it: `for model in trainer.averaged()`."""
        parameters = self.parameters
        own = {name: value.detach().clone() for name, value in parameters.items()}
        with torch.no_grad():
            for name, value in self.average.items():
                parameters[name].copy_(value)
        try:
            yield self.model
        finally:
            with torch.no_grad():
                for name, value in own.items():
                    parameters[name].copy_(value)

    def log_score(self) -> None:
        """Score held-out prompts and append a line to the learning curve."""
        line: dict[str, Any] = {"minutes": round(self.minutes, 1), "step": self.step, "pictures": self.pictures}
        line["loss"] = round(self.loss, 4)
        for model in self.averaged():
            line.update(score_all(model, self.codebook, self.tokenizer, self.plan))
        _log.info("score %s", line)
        with (self.plan.folder / CURVE).open("a", encoding="utf-8") as curve:
            curve.write(json.dumps(line) + "\n")

    def save(self) -> None:
        """Write the checkpoint aside, then rename it over the old one."""
        self.plan.folder.mkdir(parents=True, exist_ok=True)
        path = self.plan.folder / CHECKPOINT
        unfinished = path.with_suffix(".part")
        torch.save(
            {
                "model": {name: value.detach() for name, value in self.parameters.items()},
                "average": self.average,
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "rng": self.rng.getstate(),
                "torch_rng": torch.get_rng_state(),
                "step": self.step,
                "pictures": self.pictures,
                "minutes": self.minutes,
                "losses": self.losses,
                "waiting": [[batch.plain() for batch in step] for step in self.waiting],
            },
            unfinished,
        )
        unfinished.replace(path)

    def resume(self) -> None:
        """Take up the last checkpoint where it stopped."""
        state = torch.load(self.plan.folder / CHECKPOINT, weights_only=True)
        with torch.no_grad():
            for name, value in state["model"].items():
                self.parameters[name].copy_(value)
        self.average = dict(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        version, numbers, gauss = state["rng"]
        self.rng.setstate((version, tuple(numbers), gauss))
        torch.set_rng_state(state["torch_rng"])
        self.step, self.pictures = state["step"], state["pictures"]
        self.minutes, self.losses = state["minutes"], list(state["losses"])
        self.waiting = [[Batch(*parts) for parts in step] for step in state["waiting"]]


def build_trainer(plan: Plan, world: World, *, resume: bool = False) -> Trainer:
    """A trainer from nothing, or from the last checkpoint in the plan's folder if there is one."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    codebook = Codebook.build(world)
    tokenizer = build_tokenizer(all_words())
    model = build_model(codebook, tokenizer, plan.seed) if plan.start is None else read_model(plan.start, codebook)
    if plan.follow and not can_follow(model):
        model = with_following_heads(model, world, tokenizer)
    parameters = drawing_parameters(model)
    if plan.follow:
        if (plan.folder / SEEN).exists():
            load_seeing(model, plan.folder / SEEN)
        parameters |= seeing_parameters(model)
    average = {name: value.detach().clone() for name, value in parameters.items()}
    rng = Random(plan.seed)  # noqa: S311 - reproducible training data
    optimizers = build_optimizers(parameters, plan)
    trainer = Trainer(plan, codebook, tokenizer, model, optimizers, parameters, average, rng)
    if resume and (plan.folder / CHECKPOINT).exists():
        trainer.resume()
        _log.info("resumed at step %d after %.1f min", trainer.step, trainer.minutes)
    return trainer
