"""What an engine yields while it draws or answers. Pixels are numpy uint8 arrays of shape (height, width, 3), RGB."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from generation.engines.errors import EngineError

Pixels = npt.NDArray[np.uint8]

# kinds of notes that others wait for
LOADING = "memory.loading"
LOADED = "memory.load"
PURGED = "memory.purge"
RETRIES = frozenset({"memory.retry", "precision.retry"})  # what was drawn so far is drawn again


class Kind(StrEnum):
    """fragment: a rectangle with its place; preview: a whole picture, replaced by the next; final: the picture."""

    FRAGMENT = "fragment"
    PREVIEW = "preview"
    FINAL = "final"


@dataclass(frozen=True, slots=True)
class Fragment:
    """Pixels with a place. `sequence` counts from 0 per picture and kind; `x`, `y` are canvas pixels.

    A preview may be smaller than the canvas: it always stands for the whole of it. `step` of `steps` tells how far
    this picture (`index` of the batch) is. A final of an autoregressive network tells the codes it was drawn of;
    `precision` and `memory` name the rungs that drew it.
    """

    kind: Kind
    index: int
    sequence: int
    x: int
    y: int
    canvas_width: int
    canvas_height: int
    step: int
    steps: int
    pixels: Pixels
    seed: int = 0
    codes: tuple[int, ...] = ()
    precision: str = ""
    memory: str = ""

    @property
    def width(self) -> int:
        """In pixels of the array."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """In pixels of the array."""
        return int(self.pixels.shape[0])


@dataclass(frozen=True, slots=True)
class Step:
    """A sign of life without pixels: picture `index` of the batch has made `step` of `steps`."""

    index: int
    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class Words:
    """An answer in words. `text` is all of it so far, so that none is missed when one is lost; `final`: it is whole."""

    index: int
    text: str
    final: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """The last of one of several wishes: all of it is drawn, or `error` says why not.

    `device_seconds`: what drawing took until it was canceled, where the room told.
    """

    error: EngineError | None = None
    device_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth telling that is no pixels: what the memory manager did, a retry in another precision.

    `kind` is a stable word ("memory.load", "memory.purge", "precision.retry"), `detail` JSON-ready
    (bytes before and after, seconds).
    """

    kind: str
    message: str
    detail: dict[str, Any] = field(default_factory=dict)
