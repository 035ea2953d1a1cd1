"""What a course of training tells whoever started it: one JSON object a line. Must not import torch or Django."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Literal, Self

Kind = Literal["note", "begun", "step", "ended", "done", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class Report:
    """`gone` and `left` are minutes of the whole budget; `stage` is the `number`th `of` so many."""

    kind: Kind
    text: str = ""
    stage: str = ""
    number: int = 0
    of: int = 0
    step: int = 0
    loss: float = 0.0
    first: float = 0.0  # the loss with which the stage began
    gone: float = 0.0
    left: float = 0.0
    exit_code: int = 0

    def to_line(self) -> str:
        """Without line breaks, whatever the text holds."""
        return json.dumps(asdict(self))

    def with_figures(self, *, loss: float, first: float, gone: float, left: float) -> Self:
        """The same, with its numbers."""
        return replace(self, loss=loss, first=first, gone=gone, left=max(0.0, left))

    @classmethod
    def from_line(cls, line: str) -> Self | None:
        """None for a line that is no report: libraries print what they like."""
        try:
            return cls(**json.loads(line))
        except (ValueError, TypeError):
            return None

    def sentence(self) -> str:
        """For a log."""
        place = f"stage {self.number}/{self.of} {self.stage}"
        clock = f"{self.gone:.1f} min gone, {self.left:.1f} left"
        if self.kind == "begun":
            return f"{place}: from step {self.step}, {clock}"
        if self.kind == "step":
            return f"{place}: step {self.step}, loss {self.loss:.4f}, {clock}"
        if self.kind == "ended":
            return f"{place}: ended at step {self.step}, loss {self.first:.4f} at first, {self.loss:.4f} at last"
        return self.text
