"""Tiny real checkpoints on disk, made once; one thread, because two fight over a busy machine for such small work."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.generation.engines import record, tiny, tiny_glm_image


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def janus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_janus(tmp_path_factory.mktemp("checkpoints") / "janus")


@pytest.fixture(scope="session")
def mosaic_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_mosaic(tmp_path_factory.mktemp("checkpoints") / "mosaic")


@pytest.fixture(scope="session")
def looking_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_looking(tmp_path_factory.mktemp("checkpoints") / "looking")


@pytest.fixture(scope="session")
def diffusion_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_diffusion(tmp_path_factory.mktemp("checkpoints") / "diffusion")


@pytest.fixture(scope="session")
def glm_image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_glm_image.save_glm_image(tmp_path_factory.mktemp("checkpoints") / "glm-image")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Which classes of diffusers and transformers were really loaded and drawn with."""
    names = record.names()
    if names:
        terminalreporter.section("classes really loaded and drawn in tiny form")
        terminalreporter.write_line(f"{len(names)}: {', '.join(names)}")
