"""Run the benches, each in a fresh process; print the figures beside their bars, as the last line one JSON object.

`python -m tests.bench` runs all, `python -m tests.bench autoregressive memory` some; `--write` puts what came out into
docs/performance.md. A module `bench_NAME.py` here with a function `rows() -> list[Row]` is a bench.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from generation.engines.child import ALLOCATOR
from tests.bench.report import machine, table, write_page
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
    """The rows of one bench, from a process of its own, run as a room is, whose other output passes through."""
    environment = {**os.environ, **ALLOCATOR, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}"}
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


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """0 when every bar is met, 1 when one is missed, 2 for a bench that there is not."""
    wanted = [word for word in sys.argv[1:] if word != "--write"]
    names, about, found = wanted or known(), machine(), dict[str, list[Row]]()
    if strangers := set(names) - set(known()):
        say(f"There is no bench {min(strangers)}; there are {', '.join(known())}.")
        return 2
    for name in names:
        say(f"--- {name}")
        found[name] = run(name)
    rows = [row for part in found.values() for row in part]
    if "--write" in sys.argv:
        write_page(ROOT / "docs" / "performance.md", found, about)
    say("")
    for line in table(rows):
        say(line)
    say(json.dumps({"about": about, "rows": [row.to_dict() for row in rows]}))
    return 0 if all(row.holds is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
