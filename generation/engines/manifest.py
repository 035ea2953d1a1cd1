"""What a signed picture says of itself (C2PA): which program made it, how, of which parent; its recipe where wanted.

Plain data for `signing`. Never the prompt, the title included, unless the recipe goes along. No torch, no Django.
Source of the names: C2PA specification 2.2, "Actions" and "Ingredient"; IPTC NewsCodes, Digital Source Type.
"""

import json
from collections.abc import Mapping
from typing import Any

from generation.engines.params import NEEDS_SOURCE
from generation.engines.provenance import SOURCE_TYPES, source_type_of

VERSION = "0.1.0"  # of pyproject.toml; a test compares them
SOFTWARE = {"name": "Tessera", "version": VERSION}
PNG_TYPE = "image/png"
ACTIONS, RECIPE = "c2pa.actions.v2", "tessera.recipe"
PARENT = "parent"  # by which the action names the ingredient
HANDED_IN = "A picture that was handed in"
UNTOLD = "A picture that cannot be told"


def manifest_of(recipe: Mapping[str, Any], *, title: str, with_recipe: bool) -> dict[str, Any]:
    """The manifest without its parent, as the library's builder reads it; `title` must tell nothing of the prompt."""
    manifest = {"claim_generator_info": [SOFTWARE], "title": title, "format": PNG_TYPE}
    assertions = [{"label": ACTIONS, "data": {"actions": _actions(recipe)}}]
    if with_recipe:
        assertions.append({"label": RECIPE, "data": _whole_characters(recipe)})
    return {**manifest, "assertions": assertions}


def has_parent(recipe: Mapping[str, Any]) -> bool:
    """Whether it was made of another picture."""
    return recipe.get("capability") in NEEDS_SOURCE or bool(recipe.get("source_image") or recipe.get("source_upload"))


def parent_of(recipe: Mapping[str, Any], *, title: str = "") -> dict[str, Any]:
    """The ingredient that it was made of. Without a title: only that there was one."""
    known = {"title": title, "format": PNG_TYPE} if title else {"title": _untold(recipe)}
    return {**known, "relationship": "parentOf", "label": PARENT}


def _untold(recipe: Mapping[str, Any]) -> str:
    return HANDED_IN if recipe.get("source_upload") else UNTOLD


def _actions(recipe: Mapping[str, Any]) -> list[dict[str, Any]]:
    drawn = {"digitalSourceType": SOURCE_TYPES + source_type_of(recipe), "softwareAgent": SOFTWARE}
    if not has_parent(recipe):
        return [{"action": "c2pa.created", **drawn}]
    opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": [PARENT]}}
    return [opened, {"action": "c2pa.edited", **drawn}]


def _whole_characters(recipe: Mapping[str, Any]) -> Any:
    # half a character becomes a question mark, as in the PNG's own texts; the library would refuse it
    return json.loads(json.dumps(recipe, ensure_ascii=False).encode("utf-8", "replace"))
