"""The bench command: figures beside bars, one JSON line at the end, and what is written into the page."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import report
from tests.bench.__main__ import known
from tests.bench.rows import Row

ROOT = Path(__file__).resolve().parents[1]
ROWS = [
    Row("tokens per second", 1.62, 1.5, remark="greedy"),
    Row("previews, share of the time", 3.4, 3.0, "most", "%"),
    Row("first fragment", 0.07, None, unit="s"),
]


def test_a_bar_is_met_from_its_own_side() -> None:
    assert [row.holds for row in ROWS] == [True, False, None]


def test_each_figure_stands_beside_its_bar() -> None:
    lines = report.table(ROWS)
    assert ">= 1.5" in lines[0] and "met" in lines[0] and "greedy" in lines[0]
    assert "<= 3" in lines[1] and "MISSED" in lines[1]
    assert "met" not in lines[2] and "MISSED" not in lines[2]


def test_the_page_keeps_what_other_benches_wrote(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("# Performance\n\nWords.\n", encoding="utf-8")
    report.write_page(page, {"speed": ROWS[:1]}, report.machine())
    report.write_page(page, {"previews": ROWS[1:]}, report.machine())
    report.write_page(page, {"speed": [Row("tokens per second", 1.7, 1.5)]}, report.machine())
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Performance\n\nWords.\n")
    assert text.count("tokens per second | 1.7 x") == 1 and "1.62" not in text
    assert "3.4 %" in text and "MISSED" in text
    assert text.index("## Speed") < text.index("## Previews")


def test_every_bench_is_known_by_its_file() -> None:
    assert "precision" in known() and "layer" not in known(), "that one prints in a form of its own"


@pytest.mark.processes
def test_the_last_line_is_json_and_a_wrong_name_is_told() -> None:
    def bench(*names: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.bench", *names]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)

    wrong = bench("nothing")
    assert wrong.returncode == 2 and "There is no bench nothing" in wrong.stdout
    done = bench("precision")
    told = json.loads(done.stdout.splitlines()[-1])
    assert {row["name"] for row in told["rows"]} >= {"finite checks, share of the time, diffusion"}
    assert told["about"]["torch"]
    assert done.returncode == (0 if all(row["holds"] is not False for row in told["rows"]) else 1)
