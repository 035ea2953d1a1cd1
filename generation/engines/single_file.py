"""A single .safetensors file to a pipeline in host memory, without the network: with our settings and CLIP's words.

Tensors keep pointing into the mapped file wherever the library names them otherwise only: nothing is copied then.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import diffusers
import safetensors
import torch
import transformers
from accelerate import init_empty_weights
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint

from generation.engines.clip_words import find_words, vocabulary
from generation.engines.diffusion_precision import dtype_of
from generation.engines.errors import CheckpointError
from generation.engines.loading import narrower, require_complete
from generation.engines.precision import Numbers
from generation.engines.reading import read_json
from generation.engines.safetensors_header import read_header
from generation.engines.single_layouts import UNET, VAE, Layout, layout_of
from generation.engines.single_settings import Values, settings_of
from generation.engines.weighing import types_of

LONGEST = 77  # words of a prompt, with its two marks
PADS = {"tokenizer": "<|endoftext|>", "tokenizer_2": "!"}  # what fills up a short prompt

State = dict[str, torch.Tensor]


def read_single_file(file: Path, numbers: Numbers) -> Any:
    """The pipeline. Raises CheckpointError when a part is missing or of other shapes than it must have."""
    tensors = read_header(file).tensors
    layout = layout_of(file, tensors)
    settings = settings_of(file, layout, tensors)
    index = read_json(layout.folder / "model_index.json")
    kind = getattr(diffusers, index.pop("_class_name"))
    made: dict[str, Any] = {}
    for name, entry in index.items():
        if not isinstance(entry, list):
            made[name] = entry
        elif name in layout.places:
            dtype = narrower(types_of(layout.part(name, tensors)), dtype_of(name, numbers))
            made[name] = _network(entry, settings[name], _state(file, layout, name), dtype, name)
        elif name == "scheduler":
            made[name] = getattr(diffusers, entry[1]).from_pretrained(layout.folder, subfolder=name)
        else:
            made[name] = _tokenizer(file, name) if entry[1] else None
    _require_words_fit(file, made)
    return kind(**made)


def _network(entry: list[str], settings: Values, state: State, dtype: torch.dtype, part: str) -> torch.nn.Module:
    library, name = entry
    with init_empty_weights(include_buffers=False):
        if library == "diffusers":
            network: torch.nn.Module = getattr(diffusers, name).from_config(settings)
        else:
            found = getattr(transformers, name)
            network = found(found.config_class(**settings))
    state = CONVERTERS[part](state, settings)
    if not hasattr(network, "text_model"):  # one of the two classes of CLIP has it, the other not
        state = {name.removeprefix("text_model."): tensor for name, tensor in state.items()}
    missing = network.load_state_dict(state, strict=False, assign=True).missing_keys
    require_complete(part, missing)
    return network.to(dtype).eval()


def _state(file: Path, layout: Layout, part: str) -> State:
    """The tensors of one part, mapped, named without what their names begin with."""
    place = layout.places[part]
    with safetensors.safe_open(file, "pt") as opened:
        return {name.removeprefix(place): opened.get_tensor(name) for name in opened.keys() if name.startswith(place)}  # noqa: SIM118


def _unet(state: State, settings: Values) -> State:
    return dict(convert_ldm_unet_checkpoint({f"{UNET}{name}": tensor for name, tensor in state.items()}, settings))


def _vae(state: State, settings: Values) -> State:
    return dict(convert_ldm_vae_checkpoint({f"{VAE}{name}": tensor for name, tensor in state.items()}, settings))


def _clip(state: State, settings: Values) -> State:
    """Named as transformers does already, but for early files, which leave out the first word."""
    return {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in state.items()}


OPEN_CLIP = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}
OPEN_CLIP_LAYER = {
    "transformer.resblocks.": "text_model.encoder.layers.",
    ".ln_1.": ".layer_norm1.",
    ".ln_2.": ".layer_norm2.",
    ".mlp.c_fc.": ".mlp.fc1.",
    ".mlp.c_proj.": ".mlp.fc2.",
    ".attn.": ".self_attn.",
}


def _open_clip(state: State, settings: Values) -> State:
    """From OpenCLIP's names; queries, keys and values are one tensor there."""
    found: State = {}
    for name, tensor in state.items():
        if name in OPEN_CLIP:
            found[OPEN_CLIP[name]] = tensor
        elif name == "text_projection":
            found["text_projection.weight"] = tensor.T.contiguous()
        elif name.startswith("transformer.resblocks."):
            for old, new in OPEN_CLIP_LAYER.items():
                name = name.replace(old, new)
            before, joined, kind = name.partition("in_proj_")
            if not joined:
                found[name] = tensor
                continue
            for letter, third in zip("qkv", tensor.chunk(3), strict=True):
                found[f"{before}{letter}_proj.{kind}"] = third
    return found


CONVERTERS: Mapping[str, Callable[[State, Values], State]] = {
    "unet": _unet,
    "vae": _vae,
    "text_encoder": _clip,
    "text_encoder_2": _open_clip,
}


def _tokenizer(file: Path, name: str) -> Any:
    found, kind = find_words(file), transformers.CLIPTokenizer
    own = {"pad_token": PADS[name], "model_max_length": LONGEST}
    if found.is_dir():
        return kind.from_pretrained(found, local_files_only=True, **own)
    words, merges = vocabulary(found)
    return kind(vocab=words, merges=merges, **own)


def _require_words_fit(file: Path, made: Mapping[str, Any]) -> None:
    """Raises CheckpointError when a tokenizer knows more words than its text encoder."""
    for name in PADS:
        tokenizer, encoder = made.get(name), made.get(name.replace("tokenizer", "text_encoder"))
        if tokenizer is None or encoder is None:
            continue
        if len(tokenizer) > encoder.config.vocab_size:
            raise CheckpointError(
                f"The tokenizer beside {file.name} knows {len(tokenizer)} words, its text encoder "
                f"{encoder.config.vocab_size}.",
                hint="Put the tokenizer folder that belongs to this checkpoint there.",
            )
