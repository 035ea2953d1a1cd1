"""What `make chaos` prints of its rounds: a table, and one JSON object as the last line. Nothing is played here."""

import json
from collections.abc import Mapping, Sequence

import pytest

import tests.chaos.__main__ as chaos
from tests.bench.rows import Row
from tests.chaos.faults import FAULTS
from tests.chaos.figures import rows_of
from tests.chaos.rounds import Outcome

FAULT = FAULTS[0]
SOUND = Outcome(FAULT.name, 1.5, 4.0, 6)
SLOW = Outcome(FAULT.name, FAULT.bound + 1, 4.0, 6)
UNSOUND = Outcome(FAULT.name, 2.5, 9.0, 6, ("a file without a row", "2 orphans"))


def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rows: Sequence[Row]) -> list[str]:
    """What it says when these rows come out; the exit code as the last line."""

    def play_all(servers: Mapping[str, object], rounds: int, words: Sequence[str]) -> list[Row]:
        return [*rows, Row("other", 1, None, remark=f"{rounds} {' '.join(words)}")]

    monkeypatch.setattr(chaos, "play_all", play_all)
    monkeypatch.setattr(chaos, "elsewhere", lambda words: [])
    monkeypatch.setattr("sys.argv", ["tests.chaos", "room"])
    monkeypatch.setenv("ROUNDS", "3")
    code = chaos.main()
    return [*capsys.readouterr().out.splitlines(), str(code)]


@pytest.mark.parametrize(
    ("outcomes", "holds", "code"),
    [([SOUND, SOUND], [True, True], "0"), ([SOUND, UNSOUND], [False, True], "1"), ([SLOW], [True, False], "1")],
)
def test_the_last_line_says_it_all_again(
    outcomes: list[Outcome],
    holds: list[bool],
    code: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = rows_of(FAULT, outcomes)
    *lines, last, ended = printed(monkeypatch, capsys, rows)
    found = json.loads(last)
    assert (ended, found["rounds"], found["about"].keys() >= {"processor", "cpus"}) == (code, 3, True)
    assert [row["holds"] for row in found["rows"]] == [*holds, None]
    assert found["rows"][:2] == [row.to_dict() for row in rows]
    assert found["rows"][2]["remark"] == "3 room"
    for row in rows:
        assert any(line.startswith(row.name) and row.remark in line for line in lines), "the table has it too"


def test_figures_of_rounds() -> None:
    sound, again = rows_of(FAULT, [SOUND, UNSOUND])
    assert (sound.value, sound.bar, sound.remark) == (50, 100, "a file without a row; 2 orphans")
    assert (again.value, again.bar, again.sense) == (2.5, FAULT.bound, "most")


def test_a_part_that_broke_off_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaos, "program", lambda name: None)
    assert [row.holds for row in chaos.elsewhere([])] == [False]
