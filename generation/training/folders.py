"""Folders that appear whole: written beside their place, then renamed, so that a reader never meets half of one."""

import shutil
from pathlib import Path


def draft_of(folder: Path) -> Path:
    """The place beside `folder` to write to; what an earlier attempt left there is gone."""
    draft = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    return draft


def replace_folder(draft: Path, folder: Path) -> None:
    """Put the draft where `folder` is, or shall be."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        folder.rename(old)
    draft.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
