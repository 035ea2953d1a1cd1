"""How far one picture of GLM-Image is, over its two parts as one: codes are drawn, then a picture is made of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from generation.engines.fragments import Fragment, Kind, Pixels, Step
from generation.engines.glm_image_colours import CodeColours
from generation.engines.glm_image_prompt import Asked

MOST_SKETCHES = 8  # of the large grid


@dataclass(slots=True)
class Progress:
    """Of one picture of the batch. A round is a step of the diffusion part; all rounds count as much as all codes."""

    index: int
    seed: int
    size: tuple[int, int]
    codes: int
    rounds: int
    previews: int = 0

    @property
    def steps(self) -> int:
        """Of the whole picture."""
        return self.codes + self.rounds * self._weight

    @property
    def _weight(self) -> int:
        return max(1, self.codes // self.rounds)

    def drew(self, codes: int) -> Step:
        """So many codes are there."""
        return Step(self.index, codes, self.steps)

    def refined(self, rounds: int) -> Step:
        """All codes are there, and so many rounds are done."""
        return Step(self.index, self.codes + rounds * self._weight, self.steps)

    def preview(self, pixels: Pixels, at: Step) -> Fragment:
        """The next one."""
        self.previews += 1
        return self._fragment(Kind.PREVIEW, self.previews - 1, pixels, at)

    def final(self, pixels: Pixels) -> Fragment:
        """The picture itself."""
        return self._fragment(Kind.FINAL, 0, pixels, self.refined(self.rounds))

    def _fragment(self, kind: Kind, sequence: int, pixels: Pixels, at: Step) -> Fragment:
        width, height = self.size
        return Fragment(
            kind, self.index, sequence, 0, 0, width, height, at.step, at.steps, pixels=pixels, seed=self.seed
        )


class Sketch:
    """Codes as they come, as colours: the draft, then row by row the picture over it.

    An edit has no draft. What is not drawn yet is the picture it begins from.
    """

    def __init__(self, colours: CodeColours, asked: Asked, begun: Image.Image | None) -> None:
        self._colours = colours
        self._asked = asked
        self._ground = begun
        self._every = -(-asked.whole[0] // MOST_SKETCHES)

    def pixels(self, codes: Sequence[int]) -> Pixels | None:
        """One pixel per code; None where nothing new is worth showing."""
        asked, lead = self._asked, self._asked.lead
        if asked.draft and len(codes) == lead:
            pixels = self._colours.pixels(codes, asked.draft)
            self._ground = Image.fromarray(pixels)
            return pixels
        rows, columns = asked.whole
        drawn, begun = divmod(len(codes) - lead, columns)
        if begun or drawn < 1 or (drawn % self._every and drawn < rows) or self._ground is None:
            return None
        canvas = np.array(self._ground.resize((columns, rows), Image.Resampling.BOX))
        canvas[:drawn] = self._colours.pixels(codes[lead:], (drawn, columns))
        return canvas
