"""Run the benches, each in a fresh process; print the figures beside their bars, as the last line one JSON object.

`python -m tests.bench` runs all, `python -m tests.bench autoregressive memory` some. A module `bench_NAME.py` here with
a function `rows() -> list[Row]` is a bench.
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from tests.bench.rows import Row

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MARK = "ROWS "
ONE = """import json
from importlib import import_module
found = import_module("tests.bench.bench_{name}").rows()
print("{mark}" + json.dumps([row.to_dict() for row in found]))"""


def known() -> list[str]:
    """Names of the benches that give rows."""
    files = sorted(HERE.glob("bench_*.py"))
    return [file.stem.removeprefix("bench_") for file in files if "def rows(" in file.read_text(encoding="utf-8")]


def run(name: str) -> list[Row]:
    """The rows of one bench, from a process of its own whose other output passes through."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}"}
    command = [sys.executable, "-c", ONE.format(mark=MARK, name=name)]
    found: list[Row] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(MARK):
                rows = json.loads(line.removeprefix(MARK))
                found = [Row(**{key: value for key, value in row.items() if key != "holds"}) for row in rows]
            else:
                say(line.rstrip())
    if process.returncode:
        found.append(Row(f"{name}: the bench failed", 0.0, 1.0, remark=f"exit code {process.returncode}"))
    return found


def table(rows: list[Row]) -> list[str]:
    """A line a figure."""
    lines = []
    for row in rows:
        bar = "" if row.bar is None else f"{'>=' if row.sense == 'least' else '<='} {row.bar:g} {row.unit}"
        verdict = {True: "met", False: "MISSED", None: ""}[row.holds]
        lines.append(f"{row.name:<64} {row.value:>9.3f} {row.unit:<3} {bar:<14} {verdict:<7} {row.remark}".rstrip())
    return lines


def machine() -> dict[str, str | int | None]:
    """What it was measured on."""
    import torch

    return {
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "torch": torch.__version__,
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,  # type: ignore[dict-item]
    }


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    names, about, rows = sys.argv[1:] or known(), machine(), list[Row]()
    for name in names:
        say(f"--- {name}")
        rows += run(name)
    say("")
    for line in table(rows):
        say(line)
    say(json.dumps({"about": about, "rows": [row.to_dict() for row in rows]}))
    return 0 if all(row.holds is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
