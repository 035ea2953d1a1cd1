"""`manage.py simulate_queue`: tables, one JSON object at the end, a page written, a day that was recorded."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import User
from generation.management.commands.simulate_queue import BEGIN, END
from generation.models import GenerationRequest, Project
from tests.generation.queue import make_checkpoint, submit


def simulate(*words: str) -> tuple[str, list[dict[str, Any]]]:
    """What it prints, and the rows of its last line."""
    out = io.StringIO()
    call_command("simulate_queue", *words, stdout=out)
    *text, last = out.getvalue().strip().splitlines()
    return "\n".join(text), json.loads(last)["simulate_queue"]


def test_the_quick_form_prints_tables_and_rows() -> None:
    text, rows = simulate("--quick", "--load", "0.3")
    assert "20 people, 1 device, load 0.3" in text
    assert "first in, first out" in text and "Tessera" in text
    assert {"name", "value", "bar", "unit", "sense", "holds"} == set(rows[0])
    assert len({row["name"] for row in rows}) == len(rows) >= 20


def test_the_tables_go_into_the_page(settings: Any, tmp_path: Path) -> None:
    settings.ROOT = tmp_path
    page = tmp_path / "docs" / "queue.md"
    page.parent.mkdir()
    page.write_text("# Queue\n")
    with pytest.raises(CommandError, match="no mark"):
        simulate("--people", "5", "--load", "0.1", "--write")
    page.write_text(f"before\n{BEGIN}\nstale words\n{END}\nafter\n")
    simulate("--people", "5", "--load", "0.1", "--write")
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "stale words" not in text
    assert "| 5 people, 1 device, load 0.1 | Tessera |" in text


def test_a_day_that_was_recorded_is_played(alice: User, project: Project) -> None:
    tiny, day = make_checkpoint(), timezone.localdate().isoformat()
    with pytest.raises(CommandError, match="Nothing was drawn"):
        simulate("--recorded", day)
    with pytest.raises(CommandError, match="is no day"):
        simulate("--recorded", "yesterday")
    for _ in range(3):
        submit(alice, project, tiny)
    GenerationRequest.objects.update(state="completed", device_seconds=4)
    text, rows = simulate("--recorded", day)
    assert "light" in text
    assert rows
