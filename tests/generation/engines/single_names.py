"""The names that original files give to tensors, from those of diffusers and transformers: for writing such files.

Written for the tests, the other way round and apart from what the library reads them with.
"""

import re

import torch

State = dict[str, torch.Tensor]

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
VAE_WORDS = {
    "mid_block.attentions.0.group_norm": "mid.attn_1.norm",
    "mid_block.attentions.0.to_q": "mid.attn_1.q",
    "mid_block.attentions.0.to_k": "mid.attn_1.k",
    "mid_block.attentions.0.to_v": "mid.attn_1.v",
    "mid_block.attentions.0.to_out.0": "mid.attn_1.proj_out",
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "conv_norm_out": "norm_out",
    "conv_shortcut": "nin_shortcut",
    "downsamplers.0": "downsample",
    "upsamplers.0": "upsample",
}
OPEN_CLIP = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm": "ln_final",
    "text_model.encoder.layers": "transformer.resblocks",
    "self_attn": "attn",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def unet(state: State, layers: int, *, attends_last: bool) -> State:
    """Of a UNet with so many layers a block; `attends_last`: whether its first up block has attention."""
    return {_unet_name(name, layers, attends_last=attends_last): tensor for name, tensor in state.items()}


def _unet_name(name: str, layers: int, *, attends_last: bool) -> str:
    for new, old in UNET_ENDS.items():
        if name.startswith(f"{new}."):
            return old + name.removeprefix(new)
    if found := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
        place = 1 if found[1] == "attentions" else 2 * int(found[2])
        return f"middle_block.{place}.{_resnet(found[3])}"
    found = re.match(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.*)", name)
    assert found is not None, name
    side, block, kind, layer, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
    first = block * (layers + 1)
    if kind == "downsamplers":
        return f"input_blocks.{first + layers + 1}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        behind = 2 if attends_last or block else 1
        return f"output_blocks.{first + layers}.{behind}.{rest}"
    stem = f"input_blocks.{first + layer + 1}" if side == "down" else f"output_blocks.{first + layer}"
    return f"{stem}.{1 if kind == 'attentions' else 0}.{_resnet(rest)}"


def _resnet(rest: str) -> str:
    word, _, end = rest.partition(".")
    return f"{RESNET[word]}.{end}" if word in RESNET else rest


def vae(state: State, stages: int = 4) -> State:
    """Attention is written as 1x1 convolutions there."""
    found = State()
    for name, tensor in state.items():
        old = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
        old = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{stages - 1 - int(m[1])}.block.{m[2]}", old)
        old = re.sub(r"down_blocks\.(\d)", r"down.\1", old)
        old = re.sub(r"up_blocks\.(\d)", lambda m: f"up.{stages - 1 - int(m[1])}", old)
        for new, word in VAE_WORDS.items():
            old = old.replace(new, word)
        is_attention = ".attn_1." in old and old.endswith(".weight") and ".norm." not in old
        found[old] = tensor[:, :, None, None] if is_attention else tensor
    return found


def clip(state: State) -> State:
    """With the list of places that most files hold."""
    places = torch.arange(len(next(t for n, t in state.items() if "position_embedding" in n)))[None]
    named = {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in state.items()}
    return {**named, "text_model.embeddings.position_ids": places}


def open_clip(state: State) -> State:
    """Queries, keys and values in one tensor, the projection the other way round, a number that is not used."""
    found: State = {"logit_scale": torch.tensor(4.6)}
    for name, tensor in state.items():
        old = name
        for new, word in OPEN_CLIP.items():
            old = old.replace(new, word)
        if old == "text_projection.weight":
            found["text_projection"] = tensor.T.contiguous()
        elif ".q_proj." in old:
            others = [state[name.replace("q_proj", f"{letter}_proj")] for letter in "kv"]
            found[old.replace("q_proj.", "in_proj_")] = torch.cat([tensor, *others])
        elif not re.search(r"\.[kv]_proj\.", old):
            found[old] = tensor
    return found


FLUX_ENDS = {
    "x_embedder": "img_in",
    "context_embedder": "txt_in",
    "proj_out": "final_layer.linear",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
}
FLUX_WORDS = {
    "norm1_context.linear": "txt_mod.lin",
    "norm1.linear": "img_mod.lin",
    "attn.norm_added_q.weight": "txt_attn.norm.query_norm.scale",
    "attn.norm_added_k.weight": "txt_attn.norm.key_norm.scale",
    "attn.norm_q.weight": "img_attn.norm.query_norm.scale",
    "attn.norm_k.weight": "img_attn.norm.key_norm.scale",
    "attn.to_add_out": "txt_attn.proj",
    "attn.to_out.0": "img_attn.proj",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
}
FLUX_SINGLE_WORDS = {
    "attn.norm_q.weight": "norm.query_norm.scale",
    "attn.norm_k.weight": "norm.key_norm.scale",
    "norm.linear": "modulation.lin",
    "proj_out": "linear2",
}
FLUX_JOINED = {
    "attn.to_q": ("img_attn.qkv", "attn.to_k", "attn.to_v"),
    "attn.add_q_proj": ("txt_attn.qkv", "attn.add_k_proj", "attn.add_v_proj"),
}


def flux(state: State) -> State:
    """As Black Forest Labs name them."""
    found = State()
    for name, tensor in state.items():
        stem, _, kind = name.rpartition(".")
        if stem in FLUX_ENDS:
            halves = tensor.chunk(2)
            found[f"{FLUX_ENDS[stem]}.{kind}"] = torch.cat(halves[::-1]) if stem == "norm_out.linear" else tensor
        elif block := re.fullmatch(r"(single_)?transformer_blocks\.(\d+)\.(.+)", name):
            found |= _flux_block(state, bool(block[1]), block[2], block[3])
    return found


def _flux_block(state: State, single: bool, number: str, rest: str) -> State:
    ours = f"{'single_' if single else ''}transformer_blocks.{number}."
    theirs = f"{'single' if single else 'double'}_blocks.{number}."
    stem, _, kind = rest.rpartition(".")
    for new, old in (FLUX_SINGLE_WORDS if single else FLUX_WORDS).items():
        if rest == new or stem == new:
            return {theirs + rest.replace(new, old): state[ours + rest]}
    if stem not in FLUX_JOINED:
        return {}  # joined to another
    joined, *others = FLUX_JOINED[stem]
    if single:
        joined, others = "linear1", [*others, "proj_mlp"]
    return {f"{theirs}{joined}.{kind}": torch.cat([state[f"{ours}{one}.{kind}"] for one in (stem, *others)])}
