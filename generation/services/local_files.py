"""Where the files of a checkpoint lie on this machine. Each has its own disks, so the row's path is only a hint."""

from dataclasses import replace
from pathlib import Path

from django.conf import settings

from generation.engines.params import CheckpointSpec
from generation.models import Checkpoint
from generation.services.checkpoints import STARTER_LIST, STARTERS

STARTER_FOLDERS = {starter.name: STARTERS / starter.folder for starter in STARTER_LIST}


def checkpoint_here(checkpoint: Checkpoint) -> Path | None:
    """Its folder or file: as it was added, else of this checkout, else by its name in a folder of TESSERA_CHECKPOINTS.

    None where it is not.
    """
    added = Path(checkpoint.path)
    places = [added]
    if checkpoint.is_starter and checkpoint.name in STARTER_FOLDERS:
        places.append(STARTER_FOLDERS[checkpoint.name])
    places += [folder / added.name for folder in settings.CHECKPOINTS]
    return next((place for place in places if place.exists()), None)


def spec_here(checkpoint: Checkpoint) -> CheckpointSpec:
    """What the engine room of this machine needs to know. The path of the row where the files are not here."""
    return replace(checkpoint.spec(), path=str(checkpoint_here(checkpoint) or checkpoint.path))
