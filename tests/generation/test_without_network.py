"""No network: drawing with both starters, signing, adding and loading every family work, and nobody tries to leave.

Two guards in one run. The process and its rooms live in a network namespace of their own, where there is nothing to
reach. And a hook in each of its Pythons writes down whoever asks for a name or connects to anything but a Unix socket.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.generation.engines.tiny import save_diffusion, save_flow, save_janus, save_mosaic, save_xl
from tests.generation.engines.tiny_glm_image import save_glm_image
from tests.generation.engines.tiny_single import save_single

pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]  # three rooms and six loads, on a busy machine

ROOT = Path(__file__).resolve().parents[2]
NAMESPACES = (["unshare", "--net"], ["unshare", "--map-root-user", "--net"])  # as root, as anybody else
MAKERS: tuple[Callable[[Path], Path], ...] = (
    save_diffusion,
    save_xl,
    save_flow,
    save_glm_image,
    save_janus,
    save_mosaic,
    save_single,
)
GUARD = """
import sys

EVENTS = {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"}


def guard(event, arguments):
    if event in EVENTS and not (event.startswith(("socket.c", "socket.s")) and getattr(arguments[0], "family", 0) == 1):
        with open(FILE, "a") as file:
            file.write(f"{event} {arguments[1:]} {sys.argv[:1]}\\n")
        raise PermissionError("A test forbids the network.")


sys.addaudithook(guard)
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of the one run that all tests here ask."""

    found: dict[str, Any]
    attempts: str
    cut: bool


def namespace() -> list[str]:
    """How to start a program without a network; empty where the kernel forbids it."""
    for command in NAMESPACES:
        if (
            shutil.which(command[0])
            and not subprocess.run([*command, "true"], capture_output=True, check=False).returncode
        ):
            return command
    return []


def guarded(folder: Path) -> tuple[dict[str, str], Path]:
    """An environment whose Pythons are watched, and the file of what they tried."""
    log = folder / "attempts"
    log.touch()
    (folder / "sitecustomize.py").write_text(f"FILE = {str(log)!r}\n{GUARD}", encoding="utf-8")
    path = os.pathsep.join([str(folder), str(ROOT), str(ROOT / "platform")])
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    settings = {"DJANGO_SETTINGS_MODULE": "config.settings", "TESSERA_DATA": str(folder / "data")}
    return {**kept, **settings, "PYTHONPATH": path, "TESSERA_THREADS": "1", "TESSERA_DEVICE": "cpu"}, log


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    work, shelf = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("shelf")
    folders = [str(make(shelf / make.__name__.removeprefix("save_"))) for make in MAKERS]
    environment, log = guarded(work)
    without = namespace()
    command = [*without, sys.executable, "-m", "tests.generation.without_network", str(work), *folders]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}\n{log.read_text()}"
    return Outcome(json.loads(done.stdout.splitlines()[-1]), log.read_text(encoding="utf-8"), bool(without))


def test_everything_works(outcome: Outcome) -> None:
    found = outcome.found
    assert found["starter-diffusion"] > 500 < found["starter-multimodal"], "bytes of two pictures"
    assert found["added"] == 1
    assert found["signed"] == ["Trusted", "c2pa.opened", "c2pa.edited", "2"]
    assert found["loaded"] == [
        "StableDiffusionPipeline",
        "StableDiffusionXLPipeline",
        "StableDiffusion3Pipeline",
        "GlmImagePipeline",
        "JanusForConditionalGeneration",
        "JanusForConditionalGeneration",
        "StableDiffusionXLPipeline",
    ]


def test_nobody_tried_to_reach_anything(outcome: Outcome) -> None:
    assert outcome.attempts == ""


def test_there_was_nothing_to_reach(outcome: Outcome) -> None:
    if not outcome.cut:
        pytest.skip("this system lets nobody make a network namespace; the hook alone watched")
    assert outcome.found["interfaces"] == ["lo"]


def test_the_hook_notices(tmp_path: Path) -> None:
    environment, log = guarded(tmp_path)
    for code in (
        "socket.create_connection(('127.0.0.1', 9))",
        "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
        "socket.getaddrinfo('huggingface.co', 443)",
    ):
        before = len(log.read_text(encoding="utf-8"))
        done = subprocess.run([sys.executable, "-c", f"import socket; {code}"], env=environment, capture_output=True)
        assert done.returncode == 1
        assert len(log.read_text(encoding="utf-8")) > before
