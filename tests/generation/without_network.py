"""Run as a program by `test_without_network`: everything the engine room does, where no network is.

Called with a working folder and folders of checkpoints. Prints what came of each step as one JSON object. Its own
process, because it is run in a network namespace of its own, and so that no room of another test is asked.
"""

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import django
from django.core.management import call_command

STARTERS = ("starter-diffusion", "starter-multimodal")


def commands(work: Path, folder: Path) -> dict[str, Any]:
    """Both starters draw, one describes, a checkpoint is added and drawn with."""
    from generation.models import Checkpoint

    call_command("migrate", verbosity=0)
    found = dict[str, Any]()
    for name in STARTERS:
        file = work / f"{name}.png"
        call_command("generate", "a cat on white", "--checkpoint", name, "--output", str(file), "--seed", "7")
        found[name] = file.stat().st_size
    call_command("add_checkpoint", str(folder), "--name", "mine")
    found["added"] = Checkpoint.objects.filter(name="mine", enabled=True).count()
    return found


def loads(folders: list[Path]) -> list[str]:
    """Each loaded by its own engine, as the room would."""
    from generation.engines.device import Device
    from generation.engines.factory import create_engine
    from generation.engines.inspection import inspect_checkpoint
    from generation.engines.params import CheckpointSpec

    device, loaded = Device("cpu"), list[str]()
    for folder in folders:
        facts = inspect_checkpoint(folder)
        engine = create_engine(CheckpointSpec(folder.name, str(folder), facts.family))
        engine.load(device)
        loaded += [facts.class_name] if engine.size_bytes() else []
        engine.unload()
    return loaded


def main() -> None:
    """What came of it, after the lines of the commands."""
    work, *folders = map(Path, sys.argv[1:])
    django.setup()
    from generation.engines.room import OFFLINE

    found = commands(work, folders[0])
    os.environ.update(OFFLINE)  # as the room does before it loads any library
    found["loaded"] = loads(folders)
    found["interfaces"] = [name for _, name in socket.if_nameindex()]
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
