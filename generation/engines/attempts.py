"""One wish, tried until it is drawn: sparing more memory each time that ran out, in wider numbers when those failed.

Every retry starts outside the `except` block, because a traceback keeps tensors alive.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from generation.engines.base import CancelToken
from generation.engines.errors import BlankPictureError, DeviceMemoryError, EngineError, InvalidNumbersError
from generation.engines.fragments import Fragment, Kind, Note, Step, Words
from generation.engines.memory import MemoryManager
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.plan import Plan
from generation.engines.precision import name_for, wider

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Attempts:
    """The tries of one wish; `plan` is that of the newest, and of the picture once it is drawn."""

    memory: MemoryManager
    spec: CheckpointSpec
    params: GenerationParams
    cancel: CancelToken
    plan: Plan = field(default_factory=Plan)
    need: int | None = None
    _blank: bool = False  # the newest try drew one colour
    _failure: EngineError | None = None

    @property
    def precision(self) -> str:
        """Of the plan, written out."""
        return self.plan.precision

    def run(self) -> Iterator[Fragment | Note | Step | Words]:
        """What the engine yields, each final once and never a blank one. Raises EngineError."""
        plan, self.need = self.memory.plan_for(self.spec, self.params)
        self.plan = replace(plan, precision=name_for(self.memory.device, plan.precision))
        done: set[int] = set()
        while True:
            for item in self._try():
                if isinstance(item, Fragment) and item.index in done:
                    yield Step(item.index, item.step, item.steps)  # drawn before what failed: told that all goes on
                    continue
                if isinstance(item, Fragment) and item.kind is Kind.FINAL:
                    done.add(item.index)
                    item = replace(item, precision=self.plan.precision, memory=self.plan.memory)
                yield item
            if self._failure is None:
                self.memory.remember(self.spec, self.plan)
                return
            yield self._step_down(self._failure)

    def _try(self) -> Iterator[Fragment | Note | Step | Words]:
        """Leaves what may be mended by another plan in `_failure`."""
        self._failure = None
        try:
            with self.memory.acquire(self.spec, self.plan, need=self.need) as engine:
                self.cancel.raise_if_canceled()
                for item in engine.generate(self.params, self.cancel):
                    if isinstance(item, Fragment) and item.kind is Kind.FINAL:
                        require_picture(item)
                    yield item
        except (DeviceMemoryError, InvalidNumbersError, BlankPictureError) as error:
            error.__traceback__ = error.__context__ = error.__cause__ = None
            self._failure = error
        except MemoryError:
            self._failure = DeviceMemoryError(f"Memory ran out while {self.spec.name} was drawing.")

    def _step_down(self, failure: EngineError) -> Note:
        """Change the plan and free what can be freed. Raises the failure when there is no rung left."""
        logger.warning("%s with %s failed: %s", self.spec.name, self.plan, failure.message)
        if isinstance(failure, DeviceMemoryError):
            return self._spare(failure)
        return self._widen(failure)

    def _spare(self, failure: DeviceMemoryError) -> Note:
        plan = self.memory.spare(self.spec, self.plan, loading=failure.loading)
        if plan is None and failure.loading:
            raise failure
        if plan is None:
            raise DeviceMemoryError(
                "Memory ran out while drawing, even in the most sparing way.",
                hint="Use a smaller size or draw fewer at once.",
            ) from failure
        if plan != self.plan:
            self.memory.outgrew(self.spec, self.plan, self.params)
        self.plan, self.need = plan, None
        message = f"Memory ran out, trying {self.spec.name} once more ({plan.memory})"
        return Note("memory.retry", message, {"checkpoint": self.spec.name, "memory": plan.memory})

    def _widen(self, failure: EngineError) -> Note:
        """A number that is none names its part, so the ladder is walked; a blank picture gets one more chance."""
        part = failure.part if isinstance(failure, InvalidNumbersError) else "network"
        hopeless = self._blank and isinstance(failure, BlankPictureError)
        precision = None if hopeless else wider(self.memory.device, self.plan.precision, part)
        if precision is None:
            raise failure
        self._blank = isinstance(failure, BlankPictureError)
        self.plan = replace(self.plan, precision=precision)
        message = f"The numbers of {self.spec.name} failed, trying once more in {precision}"
        detail = {"checkpoint": self.spec.name, "precision": precision, "reason": failure.code}
        return Note("precision.retry", message, detail)


def require_picture(final: Fragment) -> None:
    """Raises BlankPictureError for a picture of one single colour."""
    pixels = final.pixels
    if (pixels == pixels[0, 0]).all():
        colour = "#{:02x}{:02x}{:02x}".format(*map(int, pixels[0, 0]))
        raise BlankPictureError(
            f"The checkpoint drew nothing but the colour {colour}.",
            hint="Try another seed or prompt; if it happens often, tell an operator: the checkpoint may be damaged.",
        )
