"""What weights weigh, from the headers of their files alone: bytes by number type. No torch."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from generation.engines.checkpoint_files import weights_in
from generation.engines.safetensors_header import SafetensorsHeader, TensorInfo, read_header

WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}  # bytes of a number; not whole ones


def weigh_types(place: Path) -> Counter[str]:
    """Bytes of the weights in this very folder, or of one file, by the name of their type. Raises CheckpointError."""
    found: Counter[str] = Counter()
    for header in _headers(place):
        found.update(header.dtypes())
    return found


def usual_type(types: Mapping[str, int]) -> str:
    """The type of most of them; empty when all are whole numbers."""
    broken = {name: size for name, size in types.items() if name in WIDTHS}
    return max(broken, key=lambda name: broken[name], default="")


def bytes_as(types: Mapping[str, int], width: int) -> int:
    """What they take when every number narrower than `width` bytes is widened to it; wider ones stay."""
    factors = {name: max(width, WIDTHS[name]) / WIDTHS[name] if name in WIDTHS else 1 for name in types}
    return int(sum(size * factors[name] for name, size in types.items()))


def largest_layer(place: Path) -> int:
    """Bytes of the largest numbered layer there; of the largest tensor where nothing is numbered."""
    tensors = {name: tensor for header in _headers(place) for name, tensor in header.tensors.items()}
    return largest_layer_of(tensors)


def largest_layer_of(tensors: Mapping[str, TensorInfo]) -> int:
    """As `largest_layer`, among these."""
    layers: Counter[str] = Counter()
    for name, tensor in tensors.items():
        words = name.split(".")
        numbered = [at for at, word in enumerate(words) if word.isdigit()]
        layers[".".join(words[: numbered[0] + 1]) if numbered else name] += tensor.size_bytes
    return max(layers.values(), default=0)


def types_of(tensors: Mapping[str, TensorInfo]) -> Counter[str]:
    """Bytes by the name of their type."""
    found: Counter[str] = Counter()
    for tensor in tensors.values():
        found[tensor.dtype] += tensor.size_bytes
    return found


def _headers(place: Path) -> Iterator[SafetensorsHeader]:
    files = [place] if place.is_file() else weights_in(sorted(place.iterdir()))
    return map(read_header, files)
