"""What docs/engines.md says in tables is what the code does."""

import inspect
import re
from pathlib import Path

import diffusers

from generation.engines.multimodal import ENGINES
from generation.engines.pipelines import PIPELINES
from generation.engines.precision import RUNGS
from generation.engines.schedulers import SCHEDULERS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "engines.md").read_text(encoding="utf-8")
COLUMNS = ("text_to_image", "image_to_image", "inpaint", "edit")


def test_its_table_of_pipelines_is_the_list() -> None:
    told = {}
    for name, cells in re.findall(r"^\| `(\w+Pipeline)`[^|]*((?:\|[^|\n]*){5})\|$", PAGE, re.MULTILINE):
        *able, negative = (cell.strip() == "yes" for cell in cells.split("|")[1:])
        told[name] = {way for way, can in zip(COLUMNS, able, strict=True) if can}, negative
    true = {
        name: (set(kind.ways), "negative_prompt" in inspect.signature(getattr(diffusers, name).__call__).parameters)
        for name, kind in PIPELINES.items()
    }
    assert told == true


def test_it_names_every_transformer_rung_and_scheduler() -> None:
    assert all(f"`{name}`" in PAGE for name in [*ENGINES, *SCHEDULERS])
    assert " → ".join(f"`{rung}`" for rung in RUNGS) in PAGE
