"""A single .safetensors file to a pipeline in host memory, without the network: with our settings and CLIP's words.

Tensors keep pointing into the mapped file wherever the library names them otherwise only: nothing is copied then.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import diffusers
import safetensors
import torch
import transformers
from accelerate import init_empty_weights

from generation.engines.clip_words import find_words, vocabulary
from generation.engines.diffusion_precision import dtype_of
from generation.engines.errors import CheckpointError
from generation.engines.flux_layouts import WORDS
from generation.engines.flux_weights import State
from generation.engines.loading import narrower, require_complete
from generation.engines.precision import Numbers
from generation.engines.reading import AGAIN
from generation.engines.single_places import Place
from generation.engines.single_settings import Single, understand
from generation.engines.single_weights import CONVERTERS
from generation.engines.weighing import types_of

LONGEST = {"CLIPTokenizer": 77, "T5Tokenizer": 512}  # words of a prompt, with its marks
PADS = {"tokenizer": "<|endoftext|>", "tokenizer_2": "!"}  # what fills up a short prompt of CLIP


def read_single_file(file: Path, numbers: Numbers) -> Any:
    """The pipeline. Raises CheckpointError when a part is missing or of other shapes than it must have."""
    single = understand(file)
    made: dict[str, Any] = {}
    for name, entry in single.index.items():
        if not isinstance(entry, list):
            made[name] = entry
        elif name in single.layout.places:
            made[name] = _network(single, name, numbers)
        elif name == "scheduler":
            made[name] = getattr(diffusers, entry[1]).from_config(single.settings[name])
        else:
            made[name] = _tokenizer(file, name, entry[1]) if entry[1] else None
    del made["_class_name"]
    _require_words_fit(file, made)
    return getattr(diffusers, single.class_name)(**made)


def _network(single: Single, part: str, numbers: Numbers) -> torch.nn.Module:
    library, name = single.index[part]
    settings = single.settings[part]
    with init_empty_weights(include_buffers=False):
        if library == "diffusers":
            network = getattr(diffusers, name).from_config(settings)
        else:
            network = (kind := getattr(transformers, name))(kind.config_class(**settings))
    state = CONVERTERS[name](_state(single.layout.places[part]), settings)
    if not hasattr(network, "text_model"):  # one of the two classes of CLIP has it, the other not
        state = {name.removeprefix("text_model."): tensor for name, tensor in state.items()}
    _require_shapes(part, network, state)
    require_complete(part, network.load_state_dict(state, strict=False, assign=True).missing_keys)
    if hasattr(network, "shared"):
        network.set_input_embeddings(network.shared)  # T5 has its words once
    dtype = narrower(types_of(single.weights[part]), dtype_of(part, numbers))
    return cast(torch.nn.Module, network.to(dtype).eval())


def _require_shapes(part: str, network: torch.nn.Module, state: State) -> None:
    """Raises CheckpointError, naming one, when tensors are of other shapes than the rest of them lets expect."""
    own = network.state_dict()
    wrong = [name for name, tensor in state.items() if name in own and own[name].shape != tensor.shape]
    if wrong:
        raise CheckpointError(
            f"{len(wrong)} weights of {part} have other shapes than they must, {min(wrong)} among them.", hint=AGAIN
        )


def _state(place: Place) -> State:
    """The tensors of one part, mapped, named without what their names begin with."""
    with safetensors.safe_open(place.file, "pt") as opened:
        names = [name for name in opened.keys() if name.startswith(place.prefix)]  # noqa: SIM118 it is no mapping
        return {name.removeprefix(place.prefix): opened.get_tensor(name) for name in names}


def _tokenizer(file: Path, part: str, name: str) -> Any:
    kind, own = getattr(transformers, name), dict[str, Any](model_max_length=LONGEST[name])
    if name == "T5Tokenizer":
        return kind.from_pretrained(file.parent / WORDS, local_files_only=True, **own)
    found, own = find_words(file), {**own, "pad_token": PADS[part]}
    if found.is_dir():
        return kind.from_pretrained(found, local_files_only=True, **own)
    words, merges = vocabulary(found)
    return kind(vocab=words, merges=merges, **own)


def _require_words_fit(file: Path, made: Mapping[str, Any]) -> None:
    """Raises CheckpointError when a tokenizer knows more words than its text encoder."""
    for name in PADS:
        tokenizer, encoder = made.get(name), made.get(name.replace("tokenizer", "text_encoder"))
        known = encoder.config.vocab_size if encoder is not None else 0
        if tokenizer is not None and len(tokenizer) > known:
            raise CheckpointError(
                f"The {name} beside {file.name} knows {len(tokenizer)} words, its text encoder {known}.",
                hint="Put the folder that belongs to this checkpoint there.",
            )
