"""The chat form of a checkpoint: the template that its folder holds, wherever its processor keeps it. No torch."""

from pathlib import Path
from typing import Any

from generation.engines.reading import read_bytes, read_json

LONGEST_TEMPLATE = 256 * 1024
KEPT_IN = ("chat_template.json", "processor_config.json", "tokenizer_config.json")  # under the name "chat_template"


def chat_template_of(folder: Path) -> str | None:
    """The template, or nothing for a checkpoint that takes words as they are. Raises CheckpointError."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return read_bytes(file, LONGEST_TEMPLATE).decode("utf-8", errors="replace")
    for name in KEPT_IN:
        if (folder / name).is_file() and (found := _text(read_json(folder / name).get("chat_template"))):
            return found
    return None


def shows_pictures(folder: Path) -> bool:
    """Whether pictures have a place in its chats, and the folder says how they are to be prepared."""
    prepared = any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json"))
    return prepared and "image" in (chat_template_of(folder) or "")


def _text(value: Any) -> str | None:
    """One template, or the one called default of several."""
    if isinstance(value, list):
        named = {item.get("name"): item.get("template") for item in value if isinstance(item, dict)}
        value = named.get("default")
    return value if isinstance(value, str) and value else None
