"""From a family's name to its engine. The only place that knows which families there are."""

from importlib import import_module
from typing import cast

from generation.engines.base import Engine
from generation.engines.errors import UnknownFamilyError
from generation.engines.params import CheckpointSpec

# dotted paths, imported on first use: nobody pays for a family that nobody asks for
ENGINES = {
    "diffusion": "generation.engines.diffusion.DiffusionEngine",
    "multimodal": "generation.engines.multimodal.MultimodalEngine",
}


def create_engine(spec: CheckpointSpec) -> Engine:
    """An engine for this checkpoint, not loaded yet. Raises UnknownFamilyError."""
    if spec.family not in ENGINES:
        raise UnknownFamilyError(
            f"No engine can draw with the family '{spec.family}'.", hint=f"Known are {', '.join(sorted(ENGINES))}."
        )
    module, _, name = ENGINES[spec.family].rpartition(".")
    return cast(Engine, getattr(import_module(module), name)(spec))
