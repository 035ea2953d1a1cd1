"""What a single .safetensors file is as a checkpoint: its class, parts and sizes, from its header only. No torch."""

from dataclasses import replace
from pathlib import Path

from generation.engines.checkpoint_facts import CheckpointFacts, checked_sizes, settings_in
from generation.engines.clip_words import find_words
from generation.engines.errors import CheckpointError
from generation.engines.inspect_diffusion import facts_of
from generation.engines.pipelines import PIPELINES
from generation.engines.refusals import PICKLES
from generation.engines.single_companions import own_file, refuse_hostile_companions
from generation.engines.single_settings import understand


def inspect_single_file(file: Path) -> CheckpointFacts:
    """The facts. Raises CheckpointError with the reason when it must not, or cannot, be loaded."""
    if file.suffix.lower() in PICKLES:
        raise CheckpointError(
            f"{file.name} is a pickle, which can run code when it is read.",
            hint="Use the same checkpoint saved as .safetensors.",
        )
    if file.suffix != ".safetensors":
        raise CheckpointError(
            f"{file.name} is no .safetensors file.",
            hint="Give one, or a folder as diffusers or transformers save it. Of a link, copy the file itself: cp -L.",
        )
    single = understand(file)
    find_words(file)
    refuse_hostile_companions(file)
    size_bytes = sum(tensor.size_bytes for found in single.weights.values() for tensor in found.values())
    return _with_own(file, facts_of(single.layout.folder, single.class_name, size_bytes, tuple(single.layout.places)))


def _with_own(file: Path, facts: CheckpointFacts) -> CheckpointFacts:
    own = own_file(file)
    if own is None:
        return facts
    multiple = PIPELINES[facts.class_name].multiple
    sizes, defaults = settings_in(own, facts.family, facts.sizes, facts.defaults, multiple)
    return replace(facts, sizes=checked_sizes(file, sizes, multiple), defaults=defaults)
