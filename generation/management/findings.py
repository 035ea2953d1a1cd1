"""What `manage.py add_checkpoint` tells of a checkpoint: once as values, once in words."""

from collections.abc import Iterator, Mapping
from typing import Any

from generation.engines.checkpoint_facts import Sizes
from generation.engines.checkpoint_files import files_of
from generation.engines.footprint import Footprint
from generation.engines.params import ABLE_TO
from generation.engines.plan import Plan
from generation.engines.single_companions import files_with
from generation.services.checkpoints import Examined

GIGABYTE = 1e9
MEBIBYTE = 1024 * 1024


def findings(found: Examined) -> dict[str, Any]:
    """JSON-ready."""
    facts, footprint = found.facts, found.footprint()
    files = files_of(found.path) if found.path.is_dir() else files_with(found.path)
    return {
        "name": found.name,
        "path": str(found.path),
        "family": facts.family,
        "class": facts.class_name,
        "capabilities": list(facts.capabilities),
        "sizes": [list(size) for size in facts.sizes],
        "defaults": dict(facts.defaults),
        "licence": found.licence,
        "weights_bytes": facts.size_bytes,
        "parts": {part: _most_first(types) for part, types in footprint.parts.items()},
        "memory_bytes": {name: _expected(footprint, facts.sizes, name) for name in ("fp32", "bf16")},
        "files": len(files),
        "disk_bytes": sum(file.stat().st_size for file in files),
    }


def sentences(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """A short name and a line for each finding that is there."""
    if "name" in values:
        yield "name", values["name"]
        yield "path", values["path"]
        yield "family", f"{values['family']} ({values['class']})"
        yield "can", ", ".join(ABLE_TO[capability] for capability in values["capabilities"])
        yield "sizes", ", ".join(f"{width}x{height}" for width, height in values["sizes"]) or "none"
        yield "weights", gigabytes(values["weights_bytes"])
        for part, types in values["parts"].items():
            yield "", f"{part}: " + ", ".join(f"{gigabytes(size)} {name}" for name, size in types.items())
        yield "licence", values["licence"] or "not stated"
        yield (
            "memory",
            "about " + ", ".join(f"{gigabytes(need)} in {name}" for name, need in values["memory_bytes"].items()),
        )
        yield "disk", f"{gigabytes(values['disk_bytes'])} in {values['files']} files"
    if "sha256" in values:
        yield "sha256", values["sha256"]
    if "test" in values:
        yield "test", _test_words(values["test"])


def _most_first(types: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(types.items(), key=lambda item: -item[1]))


def _expected(footprint: Footprint, sizes: Sizes, precision: str) -> int:
    """For weights and work at the first of its sizes, on a device that calculates in this precision."""
    width, height = sizes[0] if sizes else (0, 0)
    return footprint.need(Plan(precision), width, height, device="")


def gigabytes(size: int) -> str:
    """Three figures."""
    return f"{size / GIGABYTE:.3g} GB" if size >= GIGABYTE / 10 else f"{size / 1e6:.3g} MB"


def _test_words(test: dict[str, Any]) -> str:
    width, height = test["size"]
    what = "described a picture" if test["capability"] == "describe" else f"drew {width}x{height}"
    return (
        f"{what} in {test['seconds']:.1f} s after loading for {test['load_seconds']:.1f} s, "
        f"peak memory {test['peak_memory_bytes'] / MEBIBYTE:.0f} MiB on {test['device']}, {test['precision']}"
    )
