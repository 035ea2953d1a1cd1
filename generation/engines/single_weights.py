"""The tensors of one network from the names of original files to those of diffusers and transformers."""

from collections.abc import Callable, Mapping
from typing import Any

from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint

from generation.engines import flux_weights
from generation.engines.flux_weights import State
from generation.engines.single_layouts import UNET, VAE

Values = dict[str, Any]
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


def _unet(state: State, settings: Values) -> State:
    return dict(convert_ldm_unet_checkpoint({f"{UNET}{name}": tensor for name, tensor in state.items()}, settings))


def _vae(state: State, settings: Values) -> State:
    return dict(convert_ldm_vae_checkpoint({f"{VAE}{name}": tensor for name, tensor in state.items()}, settings))


def _clip(state: State, settings: Values) -> State:
    """Named as transformers does already, but for early files, which leave out the first word."""
    return {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in state.items()}


def _open_clip(state: State, settings: Values) -> State:
    """From OpenCLIP's names; queries, keys and values are one tensor there."""
    found: State = {}
    for name, tensor in state.items():
        if name in OPEN_CLIP:
            found[OPEN_CLIP[name]] = tensor
        elif name == "text_projection":
            found["text_projection.weight"] = tensor.T.contiguous()
        elif name.startswith("transformer.resblocks."):
            new = name
            for old, word in OPEN_CLIP_LAYER.items():
                new = new.replace(old, word)
            before, joined, kind = new.partition("in_proj_")
            thirds = zip("qkv", tensor.chunk(3), strict=True) if joined else ()
            found |= {f"{before}{letter}_proj.{kind}": third for letter, third in thirds} or {new: tensor}
    return found


def _t5(state: State, settings: Values) -> State:
    """Named as transformers does; the words are one tensor under two names."""
    return {**state, "encoder.embed_tokens.weight": state["shared.weight"]}


CONVERTERS: Mapping[str, Callable[[State, Values], State]] = {
    "UNet2DConditionModel": _unet,
    "AutoencoderKL": _vae,
    "CLIPTextModel": _clip,
    "CLIPTextModelWithProjection": _open_clip,
    "T5EncoderModel": _t5,
    "FluxTransformer2DModel": flux_weights.transformer,
}
