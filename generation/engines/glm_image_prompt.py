"""Words, and a picture to edit, to what GLM-Image reads: ids in its chat form, the grids of codes that are asked for.

Nobody's words are taken for more than words: what looks like a special token is left out.
"""

import re
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from generation.engines.errors import InvalidParamsError

Grid = tuple[int, int]  # rows, columns


@dataclass(frozen=True, slots=True)
class Asked:
    """`ids` [1, length] end where the first code is to come. `draft`: the small grid drawn first, for new pictures.

    `pixels` and `seen`, the grid its codes make, are of the picture to edit, for which `ids` hold placeholders.
    """

    ids: torch.Tensor
    grids: torch.Tensor
    whole: Grid
    draft: Grid | None = None
    pixels: torch.Tensor | None = None
    seen: Grid | None = None

    @property
    def lead(self) -> int:
        """Codes of the draft."""
        return self.draft[0] * self.draft[1] if self.draft else 0

    @property
    def codes(self) -> int:
        """How many codes are drawn: those of the draft, then those of the picture."""
        return self.lead + self.whole[0] * self.whole[1]


class GlmImagePrompts:
    """How one checkpoint wants to be asked."""

    def __init__(self, processor: Any, positions: int) -> None:
        self._processor = processor
        self._positions = positions
        self._foreign = _foreign(processor.tokenizer)

    def write(self, prompt: str, width: int, height: int, picture: Image.Image | None = None) -> Asked:
        """Ask for a picture; where one is handed in, for that picture changed. Raises InvalidParamsError."""
        content: list[dict[str, Any]] = [] if picture is None else [{"type": "image", "image": picture}]
        content.append({"type": "text", "text": self._foreign.sub(" ", prompt)})
        read = self._processor.apply_chat_template(
            [[{"role": "user", "content": content}]],
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            padding=False,
            target_h=height,
            target_w=width,
        )
        grids = read["image_grid_thw"]
        shapes: list[Grid] = [(int(rows), int(columns)) for _, rows, columns in grids.tolist()]
        if picture is None:
            asked = Asked(read["input_ids"], grids, whole=shapes[0], draft=shapes[1])
        else:
            asked = Asked(read["input_ids"], grids, whole=shapes[-1], pixels=read["pixel_values"], seen=shapes[0])
        if asked.ids.shape[1] + asked.codes > self._positions:
            raise InvalidParamsError("The prompt is too long for this checkpoint at this size.", hint="Shorten it.")
        return asked

    def require_fit(self, width: int, height: int) -> None:
        """Tried out when it is loaded: a broken template shall be found before anybody waits for a picture.

        The library itself counts the places for the picture.
        """
        for picture in (None, Image.new("RGB", (width, height))):
            self.write("a picture", width, height, picture)


def _foreign(tokenizer: Any) -> re.Pattern[str]:
    """Finds special tokens, and what looks like a picture code, in a person's words; the longest first."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values()}
    known = sorted({*tokenizer.all_special_tokens, *added} - {tokenizer.unk_token}, key=len, reverse=True)
    return re.compile("|".join([*map(re.escape, known), r"<\|\w+\|>"]))
