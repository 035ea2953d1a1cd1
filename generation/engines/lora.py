"""LoRAs on loaded networks: read once, switched on and off beside the base weights, which stay untouched.

They are never merged into the weights, so that without them the same seed is the same picture as before.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers.utils.peft_utils import delete_adapter_layers
from safetensors.torch import load_file

from generation.engines.device import is_out_of_memory
from generation.engines.errors import InvalidParamsError
from generation.engines.inspect_lora import inspect_lora, sha256_of
from generation.engines.params import MAX_LORAS, Lora
from generation.engines.reading import reading

logger = logging.getLogger(__name__)

KEPT = MAX_LORAS  # loaded ones, in use or not; the longest unused goes first


@dataclass(frozen=True, slots=True)
class _Version:
    """One state of one file: another one is another LoRA."""

    path: str
    inode: int
    size: int
    changed: int

    @classmethod
    def of(cls, path: str) -> "_Version":
        status = Path(path).stat()
        return cls(path, status.st_ino, status.st_size, status.st_mtime_ns)


class LoraShelf:
    """The LoRAs of one engine. Its pipelines share their networks, so what one is given all have."""

    def __init__(self) -> None:
        self._names: dict[_Version, str] = {}  # the longest unused first
        self._sums: dict[_Version, str] = {}
        self._made = 0

    def apply(self, pipeline: Any, loras: tuple[Lora, ...]) -> None:
        """Draw with exactly these from now on. Raises InvalidParamsError, and then all is as it was."""
        wanted = tuple(lora for lora in loras if lora.weight)
        if not wanted:
            if self._names:
                pipeline.disable_lora()
            return
        if not hasattr(pipeline, "load_lora_weights"):
            raise InvalidParamsError("This kind of checkpoint takes no LoRAs.", hint="Leave them out.")
        weights = dict[str, float]()
        try:
            for lora in wanted:
                name = self._loaded(pipeline, lora)
                weights[name] = weights.get(name, 0.0) + lora.weight
            pipeline.enable_lora()
            pipeline.set_adapters(list(weights), list(weights.values()))
        except BaseException:
            if self._names:
                pipeline.disable_lora()
            raise
        self._forget_unused(pipeline, keep=set(weights))

    def _loaded(self, pipeline: Any, lora: Lora) -> str:
        """The name under which it is on the networks, now if not already."""
        facts = inspect_lora(lora.path)
        with reading(f"The LoRA {lora.name}"):
            version = _Version.of(lora.path)
        self._require_same(lora, version)
        if name := self._names.pop(version, None):
            self._names[version] = name
            return name
        self._made += 1
        name = f"lora_{self._made}"
        _load(pipeline, lora, name, facts.made_for)
        self._names[version] = name
        return name

    def _require_same(self, lora: Lora, version: _Version) -> None:
        if not lora.sha256:
            return
        if version not in self._sums:
            self._sums = {kept: total for kept, total in self._sums.items() if kept in self._names}
            self._sums[version] = sha256_of(lora.path)
        if self._sums[version] != lora.sha256:
            raise InvalidParamsError(
                f"The LoRA {lora.name} is another file than the one that was asked for.", hint="Choose it anew."
            )

    def _forget_unused(self, pipeline: Any, keep: set[str]) -> None:
        """Older states of files first of all: nobody will ask for them again."""
        newest = {version.path: version for version in self._names}
        idle = [version for version, name in self._names.items() if name not in keep]
        old = [version for version in idle if newest[version.path] is not version]
        surplus = len(self._names) - len(old) - KEPT
        gone = old + [version for version in idle if version not in old][: max(surplus, 0)]
        if gone:
            with _several_at_once():
                pipeline.delete_adapters([self._names.pop(version) for version in gone])


def _load(pipeline: Any, lora: Lora, name: str, made_for: str) -> None:
    """Onto the networks; when that fails nothing of it stays there."""
    reason = None
    try:
        with _several_at_once():
            pipeline.load_lora_weights(load_file(lora.path), adapter_name=name)
        fits = any(name in names for names in pipeline.get_list_adapters().values())
        if not fits:
            reason = "none of its layers is in this checkpoint"
    except Exception as error:  # noqa: BLE001 the file is foreign and the libraries raise anything
        _clean(pipeline, name)
        if is_out_of_memory(error):
            raise
        logger.warning("The LoRA %s does not fit", lora.name, exc_info=True)
        error.__traceback__ = None
        text = str(error) or type(error).__name__
        reason = "its tensors have other shapes" if "size mismatch" in text else text.splitlines()[0][:200].rstrip(".")
    if reason:
        _clean(pipeline, name)
        kind = f" (it was made for {made_for})" if made_for else ""
        raise InvalidParamsError(
            f"The LoRA {lora.name} does not fit this checkpoint{kind}: {reason}.",
            hint="Use one that was made for this kind of checkpoint.",
        )


def _clean(pipeline: Any, name: str) -> None:
    """Take half a LoRA off every network that got some of it."""
    for network in pipeline.components.values():
        if name in getattr(network, "peft_config", {}):
            with _several_at_once():
                delete_adapter_layers(network, name)
            network.peft_config.pop(name, None)


@contextmanager
def _several_at_once() -> Iterator[None]:
    """That one network has several, and loses one that was on, is meant so: no warnings about it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")
        warnings.filterwarnings("ignore", message="Adapter .* was active which is now deleted")
        yield
