"""A tiny world from inline drawings, and a starter's facts, so that no test here needs the network or a room."""

from pathlib import Path

import pytest

import generation
from generation.engines.inspection import inspect_checkpoint
from generation.engines.params import CheckpointSpec
from generation.evaluation.asking import Measured
from generation.training.world import NOUNS, World
from tests.generation.training.conftest import DRAWINGS

STARTERS = Path(generation.__file__).parent / "starter"


@pytest.fixture(scope="session")
def world() -> World:
    nouns = NOUNS[: len(DRAWINGS)]
    return World.from_bodies(nouns, {noun.icon: body for noun, body in zip(nouns, DRAWINGS, strict=True)})


@pytest.fixture
def untried() -> Measured:
    """The diffusion starter, not measured yet."""
    folder = STARTERS / "diffusion"
    return Measured(CheckpointSpec("starter-diffusion", str(folder), "diffusion"), inspect_checkpoint(folder))
