"""A tiny world from inline drawings, so that no test needs a package or the network."""

import pytest

from generation.training.world import NOUNS, World

DRAWINGS = (
    '<circle cx="16" cy="16" r="12" fill="#d33"/>',
    '<rect x="4" y="6" width="24" height="20" fill="#3a3"/>',
    '<path d="M16 3 L29 28 L3 28 Z" fill="#33c"/>',
    '<ellipse cx="16" cy="16" rx="6" ry="14" fill="#c3c"/>',
    '<rect x="2" y="12" width="28" height="7" fill="#fb0"/>',
    '<circle cx="10" cy="10" r="8" fill="#0bb"/><circle cx="22" cy="22" r="8" fill="#222"/>',
)


@pytest.fixture(scope="session")
def tiny_world() -> World:
    nouns = NOUNS[: len(DRAWINGS)]
    return World.from_bodies(nouns, {noun.icon: body for noun, body in zip(nouns, DRAWINGS, strict=True)})
