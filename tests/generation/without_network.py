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


def signs(work: Path) -> list[str]:
    """A certificate is made, and an edit leaves signed together with its parent: what a reader says of both."""
    from django.conf import settings

    from accounts.models import User
    from generation.services.downloads import bytes_of
    from generation.services.projects import project_personal
    from generation.services.signing import picture_signed
    from tests.generation import pictures
    from tests.generation.signatures import told

    folder = work / "c2pa"
    call_command("make_certificate", "--folder", str(folder))
    settings.C2PA_CERTIFICATE, settings.C2PA_KEY = folder / "certificate.pem", folder / "key.pem"
    owner = User.objects.create_user("alice@example.org", "correct horse battery")
    project = project_personal(owner)
    parent = pictures.image(project=project)
    recipe = {"prompt": "now red", "capability": "edit", "source_image": str(parent.pk)}
    edit = pictures.image(project=project, recipe=recipe)
    signed = bytes_of(picture_signed(image=edit, user=owner, with_recipe=True))
    said = told(signed, anchor=(folder / "anchor.pem").read_bytes())
    return [said.state, *(action["action"] for action in said.actions), str(len(said.manifests))]


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
    found["signed"] = signs(work)
    os.environ.update(OFFLINE)  # as the room does before it loads any library
    found["loaded"] = loads(folders)
    found["interfaces"] = [name for _, name in socket.if_nameindex()]
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
