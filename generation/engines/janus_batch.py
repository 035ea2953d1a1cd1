"""Pictures of one Janus drawn side by side, of one wish or of many: each as it would be alone, to the bit.

Weights are read once for all of them, which is most of the work. A newcomer may take a seat between any two codes,
since every picture has its own place in its own memory; one that is canceled or fails leaves the others alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from generation.engines.base import CancelToken
from generation.engines.decoder import Patch, StreamingDecoder
from generation.engines.errors import EngineError
from generation.engines.fragments import Ended, Fragment, Kind, Step
from generation.engines.janus_core import JanusCore
from generation.engines.janus_loop import Seat, draw_together, take


@dataclass(slots=True)
class Picture:
    """One that is drawn: picture `index` of wish number `wish`."""

    wish: int
    index: int
    seed: int
    seat: Seat
    decoder: StreamingDecoder
    cancel: CancelToken
    sequence: int = 0

    def show(self, code: int) -> Iterator[Fragment | Step]:
        """What comes of one more code."""
        yield Step(self.index, len(self.seat.codes), self.decoder.tokens)
        patch = self.decoder.feed(code)
        if patch is not None:
            yield fragment_of(self.decoder, Kind.FRAGMENT, patch, seed=self.seed, place=(self.index, self.sequence))
            self.sequence += 1
        if self.seat.done:
            whole = Patch(0, 0, self.decoder.final())
            yield fragment_of(self.decoder, Kind.FINAL, whole, seed=self.seed, place=(self.index, 0))


@dataclass(slots=True)
class Batch:
    """Those that are drawn now. `single`: only the first of them, the others wait."""

    core: JanusCore
    single: bool = False
    pictures: list[Picture] = field(default_factory=list)

    def step(self) -> Iterator[tuple[int, Fragment | Step | Ended]]:
        """One code more for every picture: items with the number of their wish, `Ended` as the last of a wish.

        An error of one picture ends its wish. What is no EngineError goes through.
        """
        drawn = self.pictures[:1] if self.single else list(self.pictures)
        if not drawn:
            return
        failed: dict[int, EngineError] = {}
        for picture, logits in zip(drawn, draw_together(self.core, [picture.seat for picture in drawn]), strict=True):
            if picture.wish in failed:
                continue
            try:
                picture.cancel.raise_if_canceled()
                for item in picture.show(take(picture.seat, logits)):
                    yield picture.wish, item
            except EngineError as error:
                error.__traceback__ = None  # it keeps tensors alive
                failed[picture.wish] = error
        self.pictures = [one for one in self.pictures if not one.seat.done and one.wish not in failed]
        left = {picture.wish for picture in self.pictures}
        for wish in dict.fromkeys(picture.wish for picture in drawn):
            if wish not in left:
                yield wish, Ended(failed.get(wish))


def fragment_of(
    decoder: StreamingDecoder, kind: Kind, patch: Patch, *, seed: int, place: tuple[int, int] = (0, 0)
) -> Fragment:
    """A part of a picture, or all of it; `place`: the picture's index and the part's number."""
    return Fragment(
        kind=kind,
        index=place[0],
        sequence=place[1],
        x=patch.x,
        y=patch.y,
        canvas_width=decoder.width,
        canvas_height=decoder.height,
        step=len(decoder.codes),
        steps=decoder.tokens,
        pixels=patch.pixels,
        seed=seed,
        codes=tuple(decoder.codes) if kind is Kind.FINAL else (),
    )
