"""What a LoRA file is, from its header only: whether it is one, and for which networks it was made. No torch.

Whatever is wrong with it is wrong with the wish, never with the checkpoint: InvalidParamsError.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from generation.engines.errors import CheckpointError, InvalidParamsError
from generation.engines.reading import reading
from generation.engines.safetensors_header import TensorInfo, read_header

DOWN = (".lora_A.", ".lora_down.", "lora.down.")
UP = (".lora_B.", ".lora_up.", "lora.up.")
UNKNOWN_KINDS = {"hada_w1": "a LoHa", "lokr_w": "a LoKr", "oft_": "an OFT", "glora": "a GLoRA", "ia3": "an IA3"}
# width of the words that cross-attention reads, by which the UNets are told apart
WORD_WIDTHS = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: "Stable Diffusion XL"}
READS_WORDS = ("attn2.to_k", "attn2_to_k", "attn2.processor.to_k")
PARTS_OF = {
    "double_blocks": "FLUX",
    "single_transformer_blocks": "FLUX",
    "joint_blocks": "Stable Diffusion 3",
    "noise_refiner": "a network of the Lumina kind",
}


@dataclass(frozen=True, slots=True)
class LoraFacts:
    """`made_for` is for sentences and empty where the file does not tell."""

    made_for: str
    size_bytes: int
    pairs: int


def inspect_lora(path: str | Path) -> LoraFacts:
    """Facts about the file. Raises InvalidParamsError with the reason when it is no LoRA that can be used.

    Raises FilesUnavailableError when it is this machine that cannot read just now.
    """
    file = Path(path)
    if file.suffix != ".safetensors":
        raise InvalidParamsError(
            f"The LoRA {file.name} is no safetensors file.", hint="Others can run code when they are read; convert it."
        )
    try:
        with reading(f"The LoRA {file.name}"):
            if not file.is_file():
                raise InvalidParamsError(f"There is no LoRA file {file}.", hint="Give the path of a .safetensors file.")
            header = read_header(file)
    except CheckpointError as error:
        raise InvalidParamsError(error.message, hint=error.hint) from error
    pairs = _count_pairs(file, header.tensors)
    return LoraFacts(_made_for(header.tensors), header.size_bytes, pairs)


def sha256_of(path: str | Path) -> str:
    """Of the file's bytes. Raises InvalidParamsError, FilesUnavailableError."""
    try:
        with reading(f"The LoRA {Path(path).name}"), Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except CheckpointError as error:
        raise InvalidParamsError(error.message, hint=error.hint) from error


def _count_pairs(file: Path, names: Iterable[str]) -> int:
    """How many layers it changes: each has one matrix that narrows and one that widens again."""
    found = {"down": set[str](), "up": set[str]()}
    for name in names:
        for side, marks in (("down", DOWN), ("up", UP)):
            for mark in (mark for mark in marks if mark in name):
                found[side].add(name.replace(mark, " ", 1))
    for mark, kind in UNKNOWN_KINDS.items():
        if any(mark in name for name in names):
            raise InvalidParamsError(f"{file.name} is {kind}, which Tessera cannot apply.", hint="Use a plain LoRA.")
    if not found["down"]:
        raise InvalidParamsError(
            f"{file.name} holds no LoRA: none of its tensors is a part of one.",
            hint="Give a file with lora_A and lora_B, or lora_down and lora_up.",
        )
    if alone := sorted(found["down"] ^ found["up"]):
        raise InvalidParamsError(
            f"The LoRA {file.name} is not whole: half of {alone[0].strip()[:80]} is missing.", hint="Fetch it again."
        )
    return len(found["down"])


def _made_for(tensors: Mapping[str, TensorInfo]) -> str:
    for name, tensor in tensors.items():
        if any(part in name for part in READS_WORDS) and any(mark in name for mark in DOWN) and len(tensor.shape) > 1:
            return WORD_WIDTHS.get(tensor.shape[1], "")
    return next((kind for part, kind in PARTS_OF.items() if any(part in name for name in tensors)), "")
