"""Our settings against the checkpoints as they were published: files of their full shapes, made of nothing but headers.

The networks are built without numbers and named as in original files. The sizes of the published files, in bytes, tell
whether our settings describe them.
"""

import json
import math
import os
import struct
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import transformers

from generation.engines.footprint import predict
from generation.engines.inspection import inspect_checkpoint
from generation.engines.plan import Plan
from generation.engines.reading import read_json
from generation.engines.single_places import CONFIGS
from generation.engines.single_settings import understand
from generation.engines.single_weights import CONVERTERS
from tests.generation.engines.tiny_single import ALL, ALONE, REFINER, STABLE, XL, original
from tests.generation.engines.tiny_words import clip_tokenizer, t5_tokenizer

# settings, where their parts are, type of numbers, bytes of the file with its header as published
PUBLISHED: list[tuple[str, dict[str, str], str, int]] = [
    ("sd15", STABLE, "F32", 4_265_146_304),
    ("sdxl", XL, "F16", 6_938_078_334),
    ("sdxl_refiner", REFINER, "F16", 6_075_981_930),
    ("flux_dev", {"transformer": ""}, "BF16", 23_802_932_552),
    ("flux_schnell", {"transformer": ""}, "BF16", 23_782_506_688),
    ("flux_fill", {"transformer": ""}, "BF16", 23_804_922_408),
]
PARTS = {"vae": ("F32", 335_304_388), "text_encoder": ("F16", 246_144_152), "text_encoder_2": ("F16", 9_787_841_024)}


def bare(name: str, part: str) -> Any:
    """A network with our settings and without numbers."""
    library, kind = read_json(CONFIGS / name / "model_index.json")[part]
    settings = read_json(CONFIGS / name / part / "config.json")
    with torch.device("meta"):
        if library == "diffusers":
            return getattr(diffusers, kind).from_config(settings)
        found = getattr(transformers, kind)
        return found(found.config_class(**settings))


def doubled(network: Any) -> dict[str, torch.Tensor]:
    """The words of T5 are in published files twice."""
    if not isinstance(network, transformers.T5EncoderModel):
        return {}
    return {"encoder.embed_tokens.weight": network.shared.weight}


def save(file: Path, networks: dict[str, Any], dtype: str) -> Path:
    """A header and a hole; `networks` by what their names begin with."""
    entries, end, width = dict[str, Any](), 0, 4 if dtype == "F32" else 2
    for place, network in networks.items():
        for name, tensor in {**original(network), **doubled(network)}.items():
            size = math.prod(tensor.shape) * width
            entries[place + name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [end, end + size]}
            end += size
    text = json.dumps(entries).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(file, 8 + len(text) + end)
    return file


@pytest.mark.parametrize(("name", "places", "dtype", "size"), PUBLISHED, ids=[case[0] for case in PUBLISHED])
def test_a_published_file_is_known(tmp_path: Path, name: str, places: dict[str, str], dtype: str, size: int) -> None:
    file = save(tmp_path / "one.safetensors", {place: bare(name, part) for part, place in places.items()}, dtype)
    clip_tokenizer().save_pretrained(tmp_path / "tokenizer")
    if name.startswith("flux"):
        t5_tokenizer().save_pretrained(tmp_path / "tokenizer_2")
        for part, (own, published) in PARTS.items():
            beside = save(tmp_path / ALONE[part], {"": bare(name, part)}, own)
            assert beside.stat().st_size == pytest.approx(published, rel=0.001), part
    assert file.stat().st_size == pytest.approx(size, rel=0.001)
    single = understand(file)
    assert single.layout.name == name
    for part, settings in single.settings.items():
        ours = read_json(next((CONFIGS / name / part).glob("*config.json")))
        for setting in settings.keys() - {"transformer_layers_per_block", "projection_dim"}:
            assert settings[setting] == ours.get(setting, settings[setting]), (part, setting)


@pytest.mark.parametrize(("name", "places"), [case[:2] for case in PUBLISHED] + [("flux_dev", ALL)])
def test_every_tensor_of_a_published_file_finds_its_place(name: str, places: dict[str, str]) -> None:
    """In full shape: more blocks than there are digits, all heads, all layers."""
    for part in places:
        network = bare(name, part)
        settings = read_json(CONFIGS / name / part / "config.json")
        state = CONVERTERS[type(network).__name__](original(network), settings)
        if not hasattr(network, "text_model"):
            state = {name.removeprefix("text_model."): tensor for name, tensor in state.items()}
        found = {name: tuple(state[name].shape) for name in network.state_dict() if name in state}
        assert found == {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}, part


def test_what_people_know_of_a_published_file_is_told(tmp_path: Path) -> None:
    file = save(tmp_path / "one.safetensors", {place: bare("sdxl", part) for part, place in XL.items()}, "F16")
    facts, footprint = inspect_checkpoint(file), predict(file)
    assert facts.capabilities == ("text_to_image", "image_to_image", "inpaint")
    assert facts.sizes[0] == (1024, 1024) and (1216, 832) in facts.sizes
    assert footprint.parts["unet"] == {"F16": 2 * 2_567_463_684}
    assert footprint.parts["text_encoder"]["F16"] == pytest.approx(2 * 123_060_480, rel=1e-5)
    assert 7e9 < footprint.need(Plan("fp16"), 1024, 1024, device="") < 12e9


def test_all_parts_of_flux_in_one_file(tmp_path: Path) -> None:
    networks = {place: bare("flux_dev", part) for part, place in ALL.items()}
    file = save(tmp_path / "one.safetensors", networks, "BF16")
    clip_tokenizer().save_pretrained(tmp_path / "tokenizer")
    t5_tokenizer().save_pretrained(tmp_path / "tokenizer_2")
    facts = inspect_checkpoint(file)
    assert (facts.class_name, facts.sizes[0], facts.defaults["steps"]) == ("FluxPipeline", (1024, 1024), 28)
    assert set(facts.networks) == set(ALL)
