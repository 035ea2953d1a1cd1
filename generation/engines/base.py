"""The one shape of all engines. Nobody above the factory names a family."""

from collections.abc import Callable, Iterator, Sequence
from threading import Event
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from generation.engines.errors import CanceledError
from generation.engines.fragments import Ended, Fragment, Note, Step, Words
from generation.engines.params import GenerationParams
from generation.engines.plan import AS_IS, MemoryRung, Plan

if TYPE_CHECKING:
    from generation.engines.device import Device
    from generation.engines.weights import Weights

Item = Fragment | Note | Step | Words


class CancelToken:
    """Set by the reader of the room's socket, asked by engines between two steps or tokens."""

    def __init__(self) -> None:
        self._event = Event()

    def cancel(self) -> None:
        """Ask to stop."""
        self._event.set()

    def is_canceled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._event.is_set()

    def raise_if_canceled(self) -> None:
        """Raises CanceledError once asked to stop."""
        if self.is_canceled():
            raise CanceledError("Canceled.")


@runtime_checkable
class Engine(Protocol):
    """Weights of one checkpoint and how to draw with them. One thread calls it at a time.

    `rungs` are those of the memory ladder that make a difference to it; the others are not tried. `weights`, None
    when nothing is loaded, may be laid aside and woken between two drawings.
    """

    rungs: tuple[MemoryRung, ...]
    weights: "Weights | None"

    def load(self, device: "Device", plan: Plan = AS_IS) -> None:
        """Read the weights and put them on `device`, as the plan says.

        Raises CheckpointError, FilesUnavailableError, DeviceMemoryError.
        """

    def adapt(self, plan: Plan) -> bool:
        """Draw by this plan from now on, awake or not; False when the weights must be read anew for it."""

    def generate(self, params: GenerationParams, cancel: CancelToken) -> Iterator[Item]:
        """Yield fragments or previews, then one final per picture; a Step at least as often as a network has run.

        A wish to describe is answered by Words, the last of them final.

        Raises EngineError.
        """

    def unload(self) -> None:
        """Drop every reference to tensors. Harmless when called twice."""

    def size_bytes(self) -> int:
        """Bytes of the loaded weights; 0 when not loaded."""


Wish = tuple[GenerationParams, CancelToken]


@runtime_checkable
class DrawsTogether(Protocol):
    """An engine that draws several wishes side by side, each as it would be alone. Others draw one after the other."""

    def generate_many(
        self, wishes: Sequence[Wish], newcomers: Callable[[], Sequence[Wish]] = tuple
    ) -> Iterator[tuple[int, Item | Ended]]:
        """Items with the number of their wish, Ended as the last of each.

        `newcomers` is asked now and then for wishes that join, numbered on. What fails for one wish only is told by
        its Ended. Raises DeviceMemoryError for all of them.
        """
