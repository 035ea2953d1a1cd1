"""FLUX.1's transformer from the names of Black Forest Labs to those of diffusers, without copying what is large.

The library's own converter copies every tensor and knows one width only.
"""

import re
from typing import Any

import torch

State = dict[str, torch.Tensor]

ENDS = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "final_layer.linear": "proj_out",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
}
DOUBLE = {
    "img_mod.lin": "norm1.linear",
    "txt_mod.lin": "norm1_context.linear",
    "img_attn.norm.query_norm.scale": "attn.norm_q.weight",
    "img_attn.norm.key_norm.scale": "attn.norm_k.weight",
    "txt_attn.norm.query_norm.scale": "attn.norm_added_q.weight",
    "txt_attn.norm.key_norm.scale": "attn.norm_added_k.weight",
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
}
SINGLE = {
    "modulation.lin": "norm.linear",
    "norm.query_norm.scale": "attn.norm_q.weight",
    "norm.key_norm.scale": "attn.norm_k.weight",
    "linear2": "proj_out",
}
# one tensor there, several here, one behind the other in it
JOINED = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
}
SWAPPED = "final_layer.adaLN_modulation.1"  # shift and scale stand the other way round in diffusers
BLOCK = re.compile(r"(double|single)_blocks\.(\d+)\.(.+)")


def transformer(state: State, settings: dict[str, Any]) -> State:
    """Names that are not known are left out."""
    width = settings["attention_head_dim"] * settings["num_attention_heads"]
    found: State = {}
    for name, tensor in state.items():
        if block := BLOCK.fullmatch(name):
            kind, number, rest = block.groups()
            stem = f"{'' if kind == 'double' else 'single_'}transformer_blocks.{number}."
            parts = _block(rest, tensor, DOUBLE if kind == "double" else SINGLE, width)
            found |= {f"{stem}{part}": piece for part, piece in parts.items()}
        elif name.startswith(f"{SWAPPED}."):
            found[name.replace(SWAPPED, "norm_out.linear")] = torch.cat(tensor.chunk(2)[::-1])
        else:
            found |= _renamed(name, tensor, ENDS)
    return found


def _block(rest: str, tensor: torch.Tensor, names: dict[str, str], width: int) -> State:
    stem, _, kind = rest.rpartition(".")
    if stem not in JOINED:
        return _renamed(rest, tensor, names)
    parts = JOINED[stem]
    sizes = [width] * 3 + [len(tensor) - 3 * width] * (len(parts) - 3)
    return {f"{part}.{kind}": piece for part, piece in zip(parts, torch.split(tensor, sizes), strict=True)}


def _renamed(name: str, tensor: torch.Tensor, names: dict[str, str]) -> State:
    """Under its new name; a whole name goes before what it begins with."""
    stem, _, kind = name.rpartition(".")
    if name in names:
        return {names[name]: tensor}
    return {f"{names[stem]}.{kind}": tensor} if stem in names else {}
