"""Shapes of one network's tensors by their names: what they tell, and the error when they are not there. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass

from generation.engines.errors import CheckpointError
from generation.engines.safetensors_header import TensorInfo

MOST_BLOCKS = 100
LONGEST = 1_000_000  # edge of a tensor; of those in use the longest is that of the words, 49,408


@dataclass(frozen=True, slots=True)
class Shapes:
    """Of one network, whose tensors are named as in its file. `what` is for sentences."""

    what: str
    tensors: Mapping[str, TensorInfo]

    def edge(self, name: str, axis: int) -> int:
        """Raises CheckpointError when there is no such tensor, or none of this kind."""
        tensor = self.tensors.get(name)
        if tensor is None:
            raise self.wrong(f"lacks {name}")
        if len(tensor.shape) <= axis or not all(1 <= edge <= LONGEST for edge in tensor.shape):
            raise self.wrong(f"has a strange shape {list(tensor.shape)} for {name}")
        return tensor.shape[axis]

    def count(self, pattern: str) -> int:
        """How many there are of what is numbered from 0; `pattern` holds `{}` for the number."""
        for number in range(MOST_BLOCKS):
            if pattern.format(number) not in self.tensors:
                return number
        raise self.wrong(f"has more than {MOST_BLOCKS} of {pattern}")

    def wrong(self, reason: str) -> CheckpointError:
        """The error about this network."""
        return CheckpointError(f"The {self.what} {reason}.", hint="Use a file that has all parts, as it was published.")
