"""What the tests of both families ask of an engine."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from generation.engines.base import CancelToken, Engine
from generation.engines.device import Device
from generation.engines.factory import create_engine
from generation.engines.fragments import Fragment, Kind, Pixels
from generation.engines.inspection import inspect_checkpoint
from generation.engines.janus import JanusEngine
from generation.engines.multimodal import MultimodalEngine
from generation.engines.params import Capability, CheckpointSpec, GenerationParams
from tests.generation.engines import record

PROMPT = "a cat left of pizza on blue"


def loaded(folder: Path, family: str) -> Engine:
    """An engine with its weights on the CPU."""
    engine = create_engine(CheckpointSpec("tiny", str(folder), family))
    engine.load(Device("cpu"))
    return engine


def janus_of(engine: Engine) -> JanusEngine:
    """The engine that the family hands everything on to."""
    assert isinstance(engine, MultimodalEngine)
    assert isinstance(engine._inner, JanusEngine)
    return engine._inner


def draw(engine: Engine, size: int, **wish: Any) -> list[Fragment]:
    """Every fragment of a wish; notes are left out."""
    params = GenerationParams(**{"prompt": PROMPT, "width": size, "height": size, "seed": 7, **wish})
    found = [item for item in engine.generate(params, CancelToken()) if isinstance(item, Fragment)]
    record.drawn(class_of(engine, params.capability))
    return found


def class_of(engine: Any, capability: Capability) -> str:
    """Of the library: the pipeline or the transformer that draws this with the engine."""
    if isinstance(engine, MultimodalEngine):
        return str(inspect_checkpoint(engine.spec.path).class_name)
    return type(engine._pipelines[capability]).__name__


def finals(fragments: list[Fragment]) -> list[Fragment]:
    return [fragment for fragment in fragments if fragment.kind is Kind.FINAL]


def same(first: Fragment, second: Fragment) -> bool:
    return np.array_equal(first.pixels, second.pixels)


def pictures(edge: int = 32) -> list[Pixels]:
    """Four that the tiny network says different things of."""
    random = np.random.default_rng(1)
    noise = [random.integers(0, 256, (3, edge, edge), dtype=np.uint8).transpose(1, 2, 0) for _ in range(6)]
    return [noise[0], np.full((edge, edge, 3), 255, np.uint8), noise[3], noise[5]]


def png(pixels: Pixels) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
    return buffer.getvalue()


def lose(weights: Path, *names: str) -> None:
    """Take tensors out of a file that stays whole otherwise."""
    tensors = load_file(weights)
    for name in names:
        del tensors[name]
    save_file(tensors, weights, metadata={"format": "pt"})


def change(file: Path, **values: object) -> None:
    """Other values in a settings file."""
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def poison(weights: Path, name: str) -> None:
    """Put a value that is no number into one tensor on disk."""
    tensors = load_file(weights)
    tensors[name].view(-1)[0] = torch.nan
    save_file(tensors, weights, metadata={"format": "pt"})
