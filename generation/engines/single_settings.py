"""The settings of each network in a single file: ours for its layout, with the widths and depths its shapes tell.

What no shape tells (the kind of layers, the noise, the heads) is as in `configs`; a file whose shapes contradict that
is refused. No torch.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generation.engines import flux_settings
from generation.engines.errors import CheckpointError
from generation.engines.reading import read_json
from generation.engines.safetensors_header import TensorInfo, read_header
from generation.engines.single_layouts import layout_of
from generation.engines.single_places import Layout, refuse_quantised, within
from generation.engines.single_shapes import MOST_BLOCKS, Shapes

HEAD = 64  # numbers of one attention head, of CLIP and of the UNet of SDXL
VELOCITY, ALL_NOISE = "v_pred", "ztsnr"  # names of tensors that only stand for a fact

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Single:
    """A single file that was understood. `index`: what model_index.json says of its parts; by network: the tensors
    without the beginnings of their names, and the settings.
    """

    layout: Layout
    index: Values
    weights: dict[str, dict[str, TensorInfo]]
    settings: dict[str, Values]  # those of the scheduler among them

    @property
    def class_name(self) -> str:
        """Of its pipeline."""
        return str(self.index["_class_name"])


def understand(file: Path) -> Single:
    """Raises CheckpointError when it is no checkpoint, or a network is not whole or not of the kind of its layout."""
    headers = {file: read_header(file).tensors}
    layout = layout_of(file, headers[file])
    for other in layout.beside(file):
        headers[other] = read_header(other).tensors
        refuse_quantised(other, headers[other])
    index = read_json(layout.folder / "model_index.json")
    weights, settings = dict[str, dict[str, TensorInfo]](), dict[str, Values]()
    for part, place in layout.places.items():
        weights[part] = within(place.prefix, headers[place.file])
        ours = read_json(layout.folder / part / "config.json")
        shapes = Shapes(f"{part} of {place.file.name}", weights[part])
        settings[part] = {**ours, **READERS[index[part][1]](shapes, ours)}
    if "addition_embed_type" in settings.get("unet", {}):
        settings["unet"] |= _time_widths(file, settings)
    ours = read_json(layout.folder / "scheduler" / "scheduler_config.json")
    settings["scheduler"] = {**ours, **_noise(layout, headers[file])}
    return Single(layout, index, weights, settings)


def _noise(layout: Layout, tensors: Mapping[str, TensorInfo]) -> Values:
    """SDXL trained to tell velocity, and on noise that hides all, says so by empty tensors; none say it otherwise."""
    if not layout.name.startswith("sdxl") or VELOCITY not in tensors:
        return {}
    hidden = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"} if ALL_NOISE in tensors else {}
    return {"prediction_type": "v_prediction", **hidden}


def _unet(shapes: Shapes, settings: Values) -> Values:
    levels = list(_levels(shapes))
    deep = [bool(level.depth) for level in levels]
    wanted = [kind.startswith("CrossAttn") for kind in settings["down_block_types"]]
    if deep != wanted or len({level.layers for level in levels}) != 1:
        raise shapes.wrong("has its layers in another order than published ones")
    found: Values = {
        "in_channels": shapes.edge("input_blocks.0.0.weight", 1),
        "block_out_channels": [level.channels for level in levels],
        "layers_per_block": levels[0].layers,
        "cross_attention_dim": shapes.edge("middle_block.1.transformer_blocks.0.attn2.to_k.weight", 1),
    }
    depths = [max(level.depth, 1) for level in levels]
    depths[-1] = shapes.count("middle_block.1.transformer_blocks.{}.norm1.weight")
    if deep[-1] and depths[-1] != levels[-1].depth:
        raise shapes.wrong("has a middle of another depth than what is around it")
    found["transformer_layers_per_block"] = depths
    if isinstance(settings["attention_head_dim"], list):
        found["attention_head_dim"] = [max(level.channels // HEAD, 1) for level in levels]
    if "addition_embed_type" in settings:
        found["projection_class_embeddings_input_dim"] = shapes.edge("label_emb.0.0.weight", 1)
    return found


@dataclass(slots=True)
class _Level:
    """Layers of one size of the picture."""

    channels: int = 0
    layers: int = 0
    depth: int = 0


def _levels(shapes: Shapes) -> Iterator[_Level]:
    """From the first to the smallest."""
    level, number = _Level(), 1
    while number <= MOST_BLOCKS:
        if f"input_blocks.{number}.0.op.weight" in shapes.tensors:
            yield level
            level = _Level()
        elif (name := f"input_blocks.{number}.0.out_layers.3.weight") in shapes.tensors:
            depth = shapes.count(f"input_blocks.{number}.1.transformer_blocks.{{}}.norm1.weight")
            one = _Level(shapes.edge(name, 0), level.layers + 1, depth)
            if level.layers and (one.channels, one.depth) != (level.channels, level.depth):
                raise shapes.wrong(f"has layers of two kinds at one size (input_blocks.{number})")
            level = one
        else:
            break
        number += 1
    if not level.layers:
        raise shapes.wrong("has no layers")
    yield level


def _vae(shapes: Shapes, settings: Values) -> Values:
    stages = shapes.count("encoder.down.{}.block.0.conv1.weight")
    if stages != len(settings["block_out_channels"]):
        raise shapes.wrong(f"has {stages} stages, not {len(settings['block_out_channels'])}")
    return {
        "block_out_channels": [shapes.edge(f"encoder.down.{n}.block.0.conv1.weight", 0) for n in range(stages)],
        "layers_per_block": shapes.count("encoder.down.0.block.{}.conv1.weight"),
        "latent_channels": _same(shapes, settings["latent_channels"], shapes.edge("decoder.conv_in.weight", 1)),
    }


def _same(shapes: Shapes, wanted: int, found: int) -> int:
    if found != wanted:
        raise shapes.wrong(f"has {found} channels, not {wanted}")
    return found


def _clip(shapes: Shapes, settings: Values) -> Values:
    """As the library transformers names its tensors. Early files leave out `text_model.`."""
    named = {re.sub(r"^text_model\.", "", name): tensor for name, tensor in shapes.tensors.items()}
    inner = Shapes(shapes.what, named)
    width = inner.edge("embeddings.token_embedding.weight", 1)
    return {
        **_marks(inner.edge("embeddings.token_embedding.weight", 0)),
        "hidden_size": width,
        "projection_dim": width,
        "intermediate_size": inner.edge("encoder.layers.0.mlp.fc1.weight", 0),
        "num_hidden_layers": inner.count("encoder.layers.{}.mlp.fc1.weight"),
        "num_attention_heads": max(width // HEAD, 1),
        "max_position_embeddings": inner.edge("embeddings.position_embedding.weight", 0),
    }


def _open_clip(shapes: Shapes, settings: Values) -> Values:
    """As OpenCLIP names them."""
    width = shapes.edge("token_embedding.weight", 1)
    return {
        **_marks(shapes.edge("token_embedding.weight", 0)),
        "hidden_size": width,
        "projection_dim": shapes.edge("text_projection", 1),
        "intermediate_size": shapes.edge("transformer.resblocks.0.mlp.c_fc.weight", 0),
        "num_hidden_layers": shapes.count("transformer.resblocks.{}.mlp.c_fc.weight"),
        "num_attention_heads": max(width // HEAD, 1),
        "max_position_embeddings": shapes.edge("positional_embedding", 0),
    }


def _marks(words: int) -> Values:
    """The last two of CLIP's words are the marks of beginning and end."""
    return {"vocab_size": words, "bos_token_id": words - 2, "eos_token_id": words - 1}


def _time_widths(file: Path, found: Mapping[str, Values]) -> Values:
    """SDXL is told sizes (six numbers, five of the refiner) beside the words: how wide each number is."""
    unet, words = found["unet"], found["text_encoder_2"]["projection_dim"]
    numbers = 6 if "text_encoder" in found else 5
    width, rest = divmod(unet["projection_class_embeddings_input_dim"] - words, numbers)
    if width < 2 or width % 2 or rest:
        raise CheckpointError(
            f"The unet of {file.name} does not fit its text encoder.", hint="Use a file as it was published."
        )
    return {"addition_time_embed_dim": width}


READERS: dict[str, Callable[[Shapes, Values], Values]] = {
    "UNet2DConditionModel": _unet,
    "AutoencoderKL": _vae,
    "CLIPTextModel": _clip,
    "CLIPTextModelWithProjection": _open_clip,
    "FluxTransformer2DModel": flux_settings.transformer,
    "T5EncoderModel": flux_settings.t5,
}
