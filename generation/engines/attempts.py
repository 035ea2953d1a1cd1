"""One wish, tried until it is drawn: sparing more memory each time that ran out, in wider numbers when those failed.

Every retry starts outside the `except` block, because a traceback keeps tensors alive.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from generation.engines.base import CancelToken, Item
from generation.engines.errors import (
    BlankPictureError,
    DeviceMemoryError,
    EngineError,
    InvalidNumbersError,
    forget_trace,
)
from generation.engines.fragments import Fragment, Kind, Note, Step
from generation.engines.memory import MemoryManager
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.plan import Plan
from generation.engines.precision import name_for, wider

logger = logging.getLogger(__name__)

MENDABLE = (DeviceMemoryError, InvalidNumbersError, BlankPictureError)


@dataclass(slots=True)
class Attempts:
    """The tries of one wish; `plan` is that of the newest, and of the picture once it is drawn."""

    memory: MemoryManager
    spec: CheckpointSpec
    params: GenerationParams
    cancel: CancelToken
    plan: Plan = field(default_factory=Plan)
    need: int | None = None
    failure: EngineError | None = None  # of the newest try; another plan may mend it
    _blank: bool = False  # the newest try drew one colour
    _done: set[int] = field(default_factory=set)  # pictures that were handed out

    @property
    def precision(self) -> str:
        """Of the plan, written out."""
        return self.plan.precision

    def run(self) -> Iterator[Item]:
        """What the engine yields, each final once and never a blank one. Raises EngineError."""
        self.begin()
        yield from self.go_on()

    def begin(self) -> None:
        """Choose the first plan. Raises DeviceMemoryError when it fits in no way."""
        plan, self.need = self.memory.plan_for(self.spec, self.params)
        self.plan = replace(plan, precision=name_for(self.memory.device, plan.precision))

    def go_on(self) -> Iterator[Item]:
        """From where it was left; first mends the failure that was met there. Raises EngineError."""
        while True:
            if self.failure is not None:
                yield self._step_down(self.failure)
            yield from self._try()
            if self.failure is None:
                self.memory.remember(self.spec, self.plan)
                return

    def take(self, item: Item) -> Item:
        """An item of the engine as it shall be handed on. Raises BlankPictureError."""
        if not isinstance(item, Fragment):
            return item
        if item.index in self._done:
            return Step(item.index, item.step, item.steps)  # drawn before what failed: told that all goes on
        if item.kind is not Kind.FINAL:
            return item
        require_picture(item)
        self._done.add(item.index)
        return replace(item, precision=self.plan.precision, memory=self.plan.memory)

    def _try(self) -> Iterator[Item]:
        """Leaves what may be mended by another plan in `failure`."""
        self.failure = None
        try:
            with self.memory.acquire(self.spec, self.plan, need=self.need) as engine:
                self.cancel.raise_if_canceled()
                for item in engine.generate(self.params, self.cancel):
                    yield self.take(item)
        except MENDABLE as error:
            self.failure = forget_trace(error)
        except MemoryError:
            self.failure = ran_out(self.spec)

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


def ran_out(spec: CheckpointSpec) -> DeviceMemoryError:
    """Memory ran out outside the device."""
    return DeviceMemoryError(f"Memory ran out while {spec.name} was drawing.")


def require_picture(final: Fragment) -> None:
    """Raises BlankPictureError for a picture of one single colour."""
    pixels = final.pixels
    if (pixels == pixels[0, 0]).all():
        colour = "#{:02x}{:02x}{:02x}".format(*map(int, pixels[0, 0]))
        raise BlankPictureError(
            f"The checkpoint drew nothing but the colour {colour}.",
            hint="Try another seed or prompt; if it happens often, tell an operator: the checkpoint may be damaged.",
        )
