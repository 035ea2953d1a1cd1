"""A tiny world from inline drawings, so that no test needs a package or the network."""

from collections.abc import Iterator

import pytest
import torch

from generation.training.multimodal import architecture
from generation.training.world import NOUNS, World

DRAWINGS = (
    '<circle cx="16" cy="16" r="12" fill="#d33"/>',
    '<rect x="4" y="6" width="24" height="20" fill="#3a3"/>',
    '<path d="M16 3 L29 28 L3 28 Z" fill="#33c"/>',
    '<ellipse cx="16" cy="16" rx="6" ry="14" fill="#c3c"/>',
    '<rect x="2" y="12" width="28" height="7" fill="#fb0"/>',
    '<circle cx="10" cy="10" r="8" fill="#0bb"/><circle cx="22" cy="22" r="8" fill="#222"/>',
)


def build_tiny_world() -> World:
    nouns = NOUNS[: len(DRAWINGS)]
    return World.from_bodies(nouns, {noun.icon: body for noun, body in zip(nouns, DRAWINGS, strict=True)})


@pytest.fixture(scope="session")
def tiny_world() -> World:
    return build_tiny_world()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A quarter of the width and one thread: the same code in seconds."""
    for name, value in (("WIDTH", 64), ("LAYERS", 2), ("INNER", 128), ("HEAD_CELL", 16)):
        monkeypatch.setattr(architecture, name, value)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
