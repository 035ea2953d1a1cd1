"""The house rules that a machine can check: names, sizes, floors, what the web process loads."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = ("accounts", "generation", "platform", "tests", "manage.py")
FILE_LINES = 400
FUNCTION_LINES = 60


def python_files() -> Iterator[Path]:
    """Every Python file of ours but migrations."""
    for name in CODE:
        path = ROOT / name
        yield from [path] if path.is_file() else (f for f in path.rglob("*.py") if "migrations" not in f.parts)


def other_files() -> Iterator[Path]:
    """Scripts and style sheets of ours."""
    for folder in ("accounts", "generation", "platform"):
        yield from (f for kind in ("*.js", "*.css") for f in (ROOT / folder).rglob(kind))


def environment() -> dict[str, str]:
    """As the supervisor starts its children."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "platform")])
    return {**os.environ, "PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "config.settings"}


def run(code: str, folder: Path = ROOT) -> str:
    """What a fresh Python prints for `code`."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_no_file_is_too_long() -> None:
    long = [f"{f.relative_to(ROOT)}: {n}" for f in [*python_files(), *other_files()] if (n := lines(f)) > FILE_LINES]
    assert long == []


def lines(file: Path) -> int:
    return len(file.read_text(encoding="utf-8").splitlines())


def test_no_function_is_too_long() -> None:
    long = []
    for file in python_files():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES:
                    long.append(f"{file.relative_to(ROOT)}:{node.lineno} {node.name}: {length}")
    assert long == []


def test_every_file_says_what_it_is_for() -> None:
    silent = [str(f.relative_to(ROOT)) for f in python_files() if not ast.get_docstring(ast.parse(f.read_text()))]
    assert silent == []


def test_no_drawers_for_odds_and_ends() -> None:
    assert [f for f in python_files() if f.stem in {"utils", "helpers", "misc", "common"}] == []


def test_platform_is_no_package() -> None:
    assert not (ROOT / "platform" / "__init__.py").exists()
    assert not (ROOT / "platform.py").exists()


@pytest.mark.parametrize("folder", [ROOT, ROOT / "platform", ROOT / "tests"], ids=["root", "platform", "tests"])
def test_import_platform_is_the_standard_library(folder: Path) -> None:
    assert run("import platform; print(platform.system())", folder) == sys.modules["platform"].system()


def test_import_platform_under_manage_py() -> None:
    code = "import platform; print(platform.python_version())"
    command = [sys.executable, "manage.py", "shell", "-v", "0", "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith(sys.version.split()[0])


HEAVY = "[m for m in ('torch', 'diffusers', 'transformers', 'accelerate', 'peft') if m in sys.modules]"


@pytest.mark.processes
def test_the_web_process_has_no_torch() -> None:
    code = (
        "import sys, config.asgi; from django.urls import resolve; resolve('/'); resolve('/admin/'); print("
        + HEAVY
        + ")"
    )
    assert run(code) == "[]"


@pytest.mark.processes
def test_the_cluster_process_has_no_torch() -> None:
    code = (
        "import sys, django; django.setup(); import generation.tasks, generation.runner, "
        "generation.management.commands.cluster; print(" + HEAVY + ")"
    )
    assert run(code) == "[]"


def test_the_contracts_are_kept() -> None:
    pytest.importorskip("importlinter", reason="not run: import-linter belongs to make lint, which .ci/run calls")
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
