"""How figures are shown: as lines for a terminal, and as tables in docs/performance.md, one a bench."""

import datetime
import os
import platform
import re
from pathlib import Path

from tests.bench.rows import Row

VERDICTS = {True: "met", False: "MISSED", None: ""}
CPU_INFO = Path("/proc/cpuinfo")


def machine() -> dict[str, str | float | int | None]:
    """What it is measured on, and how busy that was before."""
    import torch

    return {
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def table(rows: list[Row]) -> list[str]:
    """A line a figure."""
    return [
        f"{row.name:<64} {_value(row):>10} {_bar(row):<10} {VERDICTS[row.holds]:<7} {row.remark}".rstrip()
        for row in rows
    ]


def write_page(page: Path, found: dict[str, list[Row]], about: dict[str, str | float | int | None]) -> None:
    """Replace the tables of these benches between their marks; a bench without marks is added at the end."""
    text = page.read_text(encoding="utf-8")
    for name, rows in found.items():
        begin, end = f"<!-- bench {name} -->", f"<!-- end {name} -->"
        fresh = "\n".join([begin, *_markdown(rows), "", _circumstances(about), end])
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        if pattern.search(text):
            text = pattern.sub(lambda _, fresh=fresh: fresh, text)
        else:
            text = f"{text.rstrip()}\n\n## {name.capitalize()}\n\n{fresh}\n"
    page.write_text(text, encoding="utf-8")


def _markdown(rows: list[Row]) -> list[str]:
    lines = ["| figure | value | bar | | remark |", "|---|---|---|---|---|"]
    return lines + [
        f"| {row.name} | {_value(row)} | {_bar(row)} | {VERDICTS[row.holds]} | {row.remark} |" for row in rows
    ]


def _circumstances(about: dict[str, str | float | int | None]) -> str:
    day = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    return (
        f"{day}, {about['processor']}, {about['cpus']} cores, Python {about['python']}, torch {about['torch']}, "
        f"load before {about['load_before']}."
    )


def _value(row: Row) -> str:
    return f"{row.value:.3g} {row.unit}"


def _bar(row: Row) -> str:
    return "" if row.bar is None else f"{'>=' if row.sense == 'least' else '<='} {row.bar:g}"


def _processor() -> str:
    if CPU_INFO.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", CPU_INFO.read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found.group(1)
    return platform.processor() or platform.machine()
