"""The recipe of a picture: everything needed to draw it again, the checkpoint's own defaults written out.

One function for the portal and the command, so that a picture says the same wherever it was drawn. No torch, no Django.
"""

from collections.abc import Mapping
from typing import Any

from generation.engines.params import LIMITS, NEEDS_SOURCE, used_by
from generation.engines.provenance import CHANGED, GENERATED


def recipe_for(
    *, checkpoint: str, family: str, defaults: Mapping[str, Any], wish: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Of one picture of `wish`, which has the fields of GenerationParams. Names only what its drawing depended on."""
    used = used_by(family, defaults)
    recipe = {
        "software": "Tessera",
        "checkpoint": checkpoint,
        "family": family,
        "capability": wish["capability"],
        "prompt": wish["prompt"],
        "negative_prompt": (wish.get("negative_prompt") or "") if "negative_prompt" in used else "",
        "seed": seed,
        "width": wish.get("width"),
        "height": wish.get("height"),
        "digital_source_type": CHANGED if wish["capability"] in NEEDS_SOURCE else GENERATED,
    }
    for name in (name for name in used if name in LIMITS):
        given = wish.get(name)
        value = defaults.get(name) if given is None else given
        if value is not None and (name != "strength" or wish["capability"] in ("image_to_image", "inpaint")):
            recipe[name] = value
    if "scheduler" in used and wish.get("scheduler"):
        recipe["scheduler"] = wish["scheduler"]
    if "loras" in used and wish.get("loras"):
        recipe["loras"] = [{name: lora[name] for name in ("name", "weight", "sha256")} for lora in wish["loras"]]
    return recipe


def drawn_with(precision: str, memory: str) -> dict[str, str]:
    """What a recipe says of how the picture was drawn, beside what was asked: the numbers, and sparing if any."""
    told = {"precision": precision} if precision else {}
    return told if memory in {"", "whole"} else {**told, "memory": memory}
