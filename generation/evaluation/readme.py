"""The README's last table: speed against understanding, as measured. Lives between two markers and is never typed."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from generation.engines.params import Family
from generation.evaluation.asking import Measured
from generation.evaluation.bars import FAMILIES, SHARES, understanding
from generation.evaluation.report import Report, busy, percent

BEGIN, END = "<!-- evaluate_starters -->", "<!-- /evaluate_starters -->"
COLUMNS = ("family", "inference time", "best for", "understanding", "size")
BEST_FOR: dict[Family, str] = {
    "multimodal": "following instructions, saying what is where",
    "diffusion": "quick iteration, image to image",
}
MEGABYTE = 1_000_000


class MarkersError(ValueError):
    """The README has not exactly one place for the table."""


def markdown(report: Report) -> str:
    """The table, and a line that says what it means."""
    rows = [_row(family, report.families[family]) for family in FAMILIES]
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS)), *map(_line, rows)]
    return "\n".join([*lines, "", _meaning(report)])


def write_readme(file: Path, report: Report) -> None:
    """Replace what stands between the markers. Raises MarkersError, OSError."""
    text = file.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise MarkersError(f"{file.name} needs '{BEGIN}' and, after it, '{END}', once each.")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    file.write_text(f"{before}{BEGIN}\n{markdown(report)}\n{END}{after}", encoding="utf-8")


def _row(family: Family, found: Measured) -> list[str]:
    score, tasks = understanding(found)
    time = f"{median(found.seconds):.2f} s a picture, first fragment after {median(found.first_seconds):.2f} s"
    known = "; ".join([f"{percent(score)}, {tasks} of {len(SHARES)} tasks", *_cannot(found)])
    return [family, time, BEST_FOR[family], known, f"{found.size_on_disk / MEGABYTE:.0f} MB"]


def _cannot(found: Measured) -> list[str]:
    said = [] if "describe" in found.ways else ["cannot describe"]
    return said if found.ways.get("edit") == "edit" else [*said, "cannot be told what to change"]


def _meaning(report: Report) -> str:
    devices = " and ".join(sorted({found.device for found in report.families.values()}))
    return (
        "The two starters, not their families at large. Understanding is the plain mean of the shares that came out "
        "right of: one object,\nbackground colour, two objects in their places, describing, editing by instruction; "
        f"what a starter cannot do counts as nothing right.\n{report.prompts} prompts a task, none seen in training, "
        f"seed {report.seed}. Times are medians, warm, on {devices} with {report.threads} threads. Made by\n"
        "`manage.py evaluate_starters --write-readme`."
    ) + ("" if report.load is None else f" {busy(report.load)}")


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"
