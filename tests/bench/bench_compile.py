"""Whether torch.compile and a static cache make drawing faster on this machine. No bars: by these a switch is decided.

What is compiled is compiled again for every size and in every new room; the remarks tell how long that takes. Random
weights. Takes about two minutes where there is a C++ compiler.
"""

import statistics
import time
from collections.abc import Callable
from shutil import which
from typing import Any

import torch
from transformers import DynamicCache, LlamaConfig, LlamaModel, StaticCache

from generation.engines.llama import language_of
from generation.engines.products import maker_for
from tests.bench.diffusion_shapes import half_unet
from tests.bench.rows import Row

Way = Callable[[], Any]
ROUNDS, WORDS, CODES, SIDES = 4, 24, 64, 2  # two sides, because guidance needs a row without the words
# width, width of the feed-forward part, layers, heads: the starter's, and Janus-Pro-1B's with a sixth of its layers
SHAPES = {"starter's shape": (256, 704, 5, 8), "1B shape, 4 layers": (2048, 5632, 4, 16)}


def rows() -> list[Row]:
    """Ratios; without a compiler those of the caches only, and a row that says so."""
    compiles = any(map(which, ("c++", "g++", "clang++")))
    found = [row for name in SHAPES for row in language(name, compiles=compiles)]
    if not compiles:
        return [*found, Row("torch.compile", 0.0, unit="", remark="not measured: no C++ compiler here")]
    return [*found, unet()]


@torch.inference_mode()
def language(name: str, *, compiles: bool) -> list[Row]:
    """A picture's codes one after the other, without what makes codes of vectors, which is the same for all ways."""
    theirs = llama(*SHAPES[name])
    ways = {
        "ours": compact(llama(*SHAPES[name])),
        "dynamic": library(theirs, theirs, lambda: DynamicCache(config=theirs.config)),
        "static": library(theirs, theirs, lambda: StaticCache(theirs.config, WORDS + CODES)),
    }
    if compiles:
        compiled = torch.compile(theirs, dynamic=False)
        ways["compiled"] = library(theirs, compiled, lambda: StaticCache(theirs.config, WORDS + CODES))
    took, first = in_turn(ways)
    remark = f"{WORDS + CODES} positions; the library's dynamic cache {1000 * took['dynamic'] / CODES:.2f} ms a code"
    found = [
        Row(f"static cache, {name}: over a dynamic one", took["dynamic"] / took["static"], remark=remark),
        Row(f"static cache, {name}: over our own loop", took["ours"] / took["static"]),
    ]
    if compiles:
        wait = f"the first picture took {first['compiled']:.0f} s"
        title = f"compiled with a static cache, {name}: over our own loop"
        found.append(Row(title, took["ours"] / took["compiled"], remark=wait))
    return found


def llama(width: int, forward: int, layers: int, heads: int) -> LlamaModel:
    """Float32, its word table left small."""
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=8,
        hidden_size=width,
        intermediate_size=forward,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=1024,
    )
    return LlamaModel(config).eval()


def vectors(width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the words [sides, words, width], and of the codes [codes, sides, width]."""
    return torch.randn(SIDES, WORDS, width), torch.randn(CODES, SIDES, width)


def compact(network: LlamaModel) -> Way:
    """The engine's own forward."""
    words, codes = vectors(network.config.hidden_size)
    language = language_of(network, maker_for(network.norm.weight))

    def draw() -> None:
        memory = language.remember(SIDES, WORDS + CODES)
        language.read(words, memory)
        for code in codes:
            language.step(code, [memory])

    return draw


def library(network: LlamaModel, step: Callable[..., Any], cache: Callable[[], Any]) -> Way:
    """transformers' forward; `step` is it, or what was compiled of it."""
    words, codes = vectors(network.config.hidden_size)

    def draw() -> None:
        kept = cache()
        network(inputs_embeds=words, past_key_values=kept, use_cache=True)
        for place, code in enumerate(codes, WORDS):
            places = torch.tensor([[place]])
            step(inputs_embeds=code.unsqueeze(1), past_key_values=kept, position_ids=places, use_cache=True)

    return draw


@torch.inference_mode()
def unet() -> Row:
    """A step of diffusion with guidance, 256x256."""
    network = half_unet()
    compiled: Any = torch.compile(network, dynamic=False)
    latent, words = torch.randn(SIDES, 4, 32, 32), torch.randn(SIDES, 77, network.config.cross_attention_dim)
    took, first = in_turn(
        {"plain": lambda: network(latent, 10, words), "compiled": lambda: compiled(latent, 10, words)}
    )
    remark = f"SD 1.5's shape at half width, 256x256, plain {took['plain']:.2f} s, first step {first['compiled']:.0f} s"
    return Row("compiled UNet: over the plain one", took["plain"] / took["compiled"], remark=remark)


def in_turn(ways: dict[str, Way]) -> tuple[dict[str, float], dict[str, float]]:
    """The middle seconds of each way, and those of its first time, in which it compiles."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            took[name].append(time.perf_counter() - began)
    middle = {name: statistics.median(seconds[1:]) for name, seconds in took.items()}
    return middle, {name: seconds[0] for name, seconds in took.items()}
