"""Where in single files the networks of a checkpoint are: which file, and what the names of its tensors begin with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from generation.engines.errors import CheckpointError
from generation.engines.safetensors_header import TensorInfo

CONFIGS = Path(__file__).parent / "configs"
SCALES = (".scale_weight", ".weight_scale", ".scale_input", "scaled_fp8", ".comfy_quant", ".absmax", ".quant_state")

Tensors = Mapping[str, TensorInfo]


class Place(NamedTuple):
    """Of one network."""

    file: Path
    prefix: str


@dataclass(frozen=True, slots=True)
class Layout:
    """One kind of file. `name` is that of its settings in `configs`; `words`: folders beside the file that it needs."""

    name: str
    places: Mapping[str, Place] = field(hash=False)
    words: tuple[Path, ...] = ()

    @property
    def folder(self) -> Path:
        """Of its settings."""
        return CONFIGS / self.name

    def beside(self, file: Path) -> list[Path]:
        """Other files that hold its networks."""
        return sorted({place.file for place in self.places.values()} - {file})


def within(prefix: str, tensors: Tensors) -> dict[str, TensorInfo]:
    """Those whose names begin so, without the beginning."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def has(prefix: str, tensors: Tensors) -> bool:
    """Whether any name begins so."""
    return any(name.startswith(prefix) for name in tensors)


def refuse_quantised(file: Path, tensors: Tensors) -> None:
    """Raises CheckpointError for numbers that mean nothing without scales beside them."""
    if any(name.endswith(SCALES) for name in tensors):
        raise CheckpointError(
            f"The weights of {file.name} are quantised with scales of their own, which Tessera does not read.",
            hint="Use those in 8 bit without scales, or in 16 or 32 bit.",
        )
