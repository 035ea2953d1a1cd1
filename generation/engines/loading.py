"""What both families do around reading weights: keep the libraries quiet, and turn their failures into ours."""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch

from generation.engines.device import is_out_of_memory
from generation.engines.errors import CheckpointError, EngineError
from generation.engines.reading import AGAIN, machine_fault, unavailable
from generation.engines.weighing import usual_type, weigh_types

logger = logging.getLogger(__name__)

TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def quiet(library: ModuleType) -> None:
    """No progress bars and no advice on the room's output; errors still speak. For diffusers or transformers."""
    library.utils.logging.set_verbosity_error()
    library.utils.logging.disable_progress_bar()


@contextmanager
def unusable(name: str) -> Iterator[None]:
    """Whatever goes wrong while foreign files are read means that the checkpoint is unusable: CheckpointError.

    Only around reading, never around the device: this error switches a checkpoint off for everybody. The traceback is
    dropped, because it keeps tensors alive. Memory errors pass; what the machine lacks is FilesUnavailableError.
    """
    reason = fault = None
    try:
        yield
    except EngineError:
        raise
    except Exception as error:  # noqa: BLE001 the files are foreign and the libraries raise anything
        if is_out_of_memory(error):
            raise
        logger.warning("%s could not be loaded", name, exc_info=True)
        fault = machine_fault(error)
        error.__traceback__ = None
        reason = (str(error) or type(error).__name__).splitlines()[0][:300]
    if fault:
        raise unavailable(name, fault)
    if reason:
        raise CheckpointError(f"{name} could not be loaded: {reason}", hint=AGAIN)


def dtype_to_read(place: Path, wanted: torch.dtype) -> torch.dtype:
    """As `narrower`, of the weights in this folder."""
    return narrower(weigh_types(place), wanted)


def narrower(types: Mapping[str, int], wanted: torch.dtype) -> torch.dtype:
    """The numbers to read weights of these types in, when they shall be `wanted` in the end.

    Those of the files where they are narrower: the library then maps the files and copies nothing, and `Weights`
    widens what is needed, when it is needed.
    """
    own = TYPES.get(usual_type(types), wanted)
    return own if own.itemsize < wanted.itemsize else wanted


def require_complete(part: str, missing: Collection[str]) -> None:
    """Raises CheckpointError when weights have no value in the files: they would be random, or nothing at all."""
    if missing:
        raise CheckpointError(
            f"The weights of {part} lack {len(missing)} tensors, {min(missing)} among them.", hint=AGAIN
        )


def bytes_of(modules: Iterable[torch.nn.Module]) -> int:
    """Memory of the weights, those that are shared counted once."""
    tensors = {
        tensor.data_ptr(): tensor.nbytes for module in modules for tensor in [*module.parameters(), *module.buffers()]
    }
    return sum(tensors.values())
