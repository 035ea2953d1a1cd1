"""A picture that is handed in, prepared for the vision tower of a Janus.

Our own starter draws and sees the same canvas: the picture is scaled to cover it. A Janus that speaks in chats is
shown the whole picture on a square ground, as its folder's image processor says.
"""

from pathlib import Path

import numpy as np
import torch
from transformers.models.janus.image_processing_pil_janus import JanusImageProcessorPil

from generation.engines.chat_template import chat_template_of
from generation.engines.errors import CheckpointError
from generation.engines.reading import AGAIN
from generation.engines.source import open_picture, open_source

MIDDLE, HALF = 127.5, 127.5  # pixels become -1..1


class PictureReader:
    """How one checkpoint wants to be shown pictures. `edge`: of its vision tower, in pixels."""

    def __init__(self, folder: Path, edge: int) -> None:
        """Raises CheckpointError when the processor makes pictures of another size."""
        self._edge = edge
        self._processor = None
        if chat_template_of(folder):
            self._processor = JanusImageProcessorPil.from_pretrained(folder, local_files_only=True)
            size = self._processor.size
            if (size.height, size.width) != (edge, edge):
                raise CheckpointError(
                    f"{folder.name} prepares pictures of another size than the {edge}x{edge} that it looks at.",
                    hint=AGAIN,
                )

    def read(self, source: bytes) -> torch.Tensor:
        """[1, 3, edge, edge]. Raises InvalidParamsError when it is no picture."""
        if self._processor is not None:
            values: torch.Tensor = self._processor(open_picture(source), return_tensors="pt").pixel_values
            return values
        pixels = np.asarray(open_source(source, self._edge, self._edge)).copy()
        return (torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0).float() - MIDDLE) / HALF
