"""The course of a training: stages one after the other, each with its share of the budget, resumable at any moment.

Holds the clock, the checkpoints' rhythm and the reports. What a step is, the families' own courses say
(`generation.training.diffusion.course`, `generation.training.multimodal.course`). Must not import torch.
"""

import math
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Protocol

from generation.training.errors import TrainingError, is_full
from generation.training.reports import Kind, Report
from generation.training.state import Progress, State

FIRST, LATEST = 5, 10  # steps whose mean is called the first and the latest loss
TELL_SECONDS = 0.5
SAVE_SECONDS, SAVES = 90.0, 20  # a save so often, but at least so many in the whole budget
SHORTEST_SAVE_SECONDS = 5.0


class Work(Protocol):
    """What one stage trains: an open network with its optimiser."""

    @property
    def step(self) -> int:
        """Steps behind it, over all resumes."""

    def advance(self, spent: float) -> float:
        """One step, with this share of the stage's budget spent; returns its loss."""

    def save(self) -> None:
        """Write the checkpoint aside and rename it."""

    def close(self) -> None:
        """Hand over what was learned: to the next stage, or to the world. Harmless when repeated."""


@dataclass(frozen=True, slots=True)
class Stage:
    """`open(resume)` builds the work, from nothing or from its checkpoint if there is one."""

    name: str
    minutes: float
    open: Callable[[bool], Work]


@dataclass(slots=True)
class Course:
    """Runs what `state` says is left to do. Set `stopping` to end it after the step at hand, with a checkpoint."""

    folder: Path
    state: State
    stages: Sequence[Stage]
    tell: Callable[[Report], None]
    stopping: bool = False
    stepping: bool = False  # whether `stopping` is looked at soon
    _told: float = field(default=0.0, init=False)

    def run(self, *, resume: bool) -> bool:
        """Whether it came to the end; False when it was stopped. Raises TrainingError.

        The state is there before any stage leaves a thing: who is killed before the first checkpoint can resume too.
        """
        with self._in_words():
            self.state.save(self.folder)
        for stage in self.stages:
            if self.state.of(stage.name).done:
                continue
            with self._in_words():
                if not self._pass(stage, resume=resume):
                    return False
        return True

    def _pass(self, stage: Stage, *, resume: bool) -> bool:
        progress = self.state.of(stage.name)
        work = self._open(stage, resume=resume)
        self._tell("begun", stage, work)
        if not self._train(stage, work, progress):
            return False
        self.tell(Report("note", f"Stage {stage.name} is trained: scoring and writing what it leaves."))
        work.close()
        progress.done = True
        self.state.save(self.folder)
        self._tell("ended", stage, work)
        return True

    def _train(self, stage: Stage, work: Work, progress: Progress) -> bool:
        """Steps until the stage's budget is spent; False when it was stopped before."""
        before, begun, latest = progress.gone, time.monotonic(), deque[float](maxlen=LATEST)
        saved, taken = begun, 0
        self.stepping = True
        while not self.stopping and self._spent(stage, progress) < 1:
            latest.append(self._step(stage, work, progress))
            taken += 1
            if progress.steps <= FIRST:
                progress.first += (latest[-1] - progress.first) / progress.steps
            progress.loss = sum(latest) / len(latest)
            progress.gone = before + (time.monotonic() - begun) / 60
            self._tell("step", stage, work)
            if time.monotonic() - saved > self._save_seconds():
                self._save(work)
                saved = time.monotonic()
        if taken:
            self._save(work)
        self.stepping = False
        return not self.stopping

    def _step(self, stage: Stage, work: Work, progress: Progress) -> float:
        loss = work.advance(self._spent(stage, progress))
        progress.steps += 1
        if not math.isfinite(loss):  # and nothing of it is saved
            message = f"The loss of stage {stage.name} is no number any more at step {work.step}."
            raise TrainingError("not_finite", message, hint="--resume goes on from the last checkpoint.")
        return loss

    def _spent(self, stage: Stage, progress: Progress) -> float:
        """The share of this stage's budget."""
        if self.state.steps is not None:
            return progress.steps / self.state.steps
        return progress.gone / stage.minutes if progress.steps else 0.0  # one step at least

    def _save(self, work: Work) -> None:
        work.save()
        self.state.save(self.folder)

    def _save_seconds(self) -> float:
        return max(SHORTEST_SAVE_SECONDS, min(SAVE_SECONDS, self.state.minutes * 60 / SAVES))

    def _tell(self, kind: Kind, stage: Stage, work: Work) -> None:
        now = time.monotonic()
        if kind == "step" and now - self._told < TELL_SECONDS:
            return
        self._told = now
        progress, place = self.state.of(stage.name), self.stages.index(stage)
        report = Report(kind, stage=stage.name, number=place + 1, of=len(self.stages), step=work.step)
        gone = sum(self.state.of(each.name).gone for each in self.stages)
        self.tell(report.with_figures(loss=progress.loss, first=progress.first, gone=gone, left=self._left()))

    def _left(self) -> float:
        """Minutes. Where steps are the budget, as long as the steps took until now."""
        progresses = [self.state.of(each.name) for each in self.stages]
        if self.state.steps is None:
            pairs = zip(self.stages, progresses, strict=True)
            return sum(max(0.0, each.minutes - progress.gone) for each, progress in pairs if not progress.done)
        steps, gone = sum(each.steps for each in progresses), sum(each.gone for each in progresses)
        return gone / max(1, steps) * (self.state.steps * len(self.stages) - steps)

    def _open(self, stage: Stage, *, resume: bool) -> Work:
        try:
            return stage.open(resume)
        except (RuntimeError, KeyError, ValueError, EOFError, UnpicklingError) as error:
            if is_full(error):
                raise
            said = (str(error).splitlines() or [type(error).__name__])[0]
            message = f"Stage {stage.name} cannot begin from the checkpoints in {self.folder}: {said}"
            hint = "They may be another version's: begin anew in another --folder."
            raise TrainingError("checkpoint_unusable", message, hint=hint) from error

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """What libraries raise, as a sentence, where it is known what it means."""
        try:
            yield
        except TrainingError:
            raise
        except Exception as error:
            if is_full(error):
                drop_drafts(self.folder)
                message = f"No room is left on the disk of {self.folder}; the last whole checkpoint is kept."
                raise TrainingError("disk_full", message, hint="Free some space, then go on with --resume.") from error
            if isinstance(error, OSError) and error.filename:
                message = f"{error.filename} cannot be used: {error.strerror}."
                raise TrainingError("folder_unusable", message, hint="Then go on with --resume.") from error
            raise


def drop_drafts(folder: Path) -> None:
    """What is half written, which nobody will read: it takes the room that a whole checkpoint needs."""
    for draft in list(folder.rglob("*.part")):
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)
