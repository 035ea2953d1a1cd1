"""What is asked, how figures meet their bars, and the README's table; the stand-in for the room knows the truth.

The real room and the real starters are in the test of the command.
"""

import json
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from generation.engines.client import RoomClient, RoomSettings
from generation.engines.encoding import encode, png
from generation.engines.fragments import Fragment, Kind, Words
from generation.engines.params import Capability, CheckpointSpec, GenerationParams
from generation.engines.protocol import Figures
from generation.evaluation.asking import Measured, measure, way_of, wish_for
from generation.evaluation.bars import BARS, FAMILIES, TITLES, cells, understanding
from generation.evaluation.preparing import WorldUnavailableError, build_world
from generation.evaluation.readme import BEGIN, COLUMNS, END, MarkersError, markdown, write_readme
from generation.evaluation.report import Report, notes, percent, table
from generation.evaluation.trials import TASKS, Task, Trial, make_trials
from generation.training.world import NOUNS, Scene, World, answer

ROOT = Path(__file__).resolve().parents[3]
ALL: tuple[Capability, ...] = ("text_to_image", "edit", "describe")
COUNT = 14


class Oracle(RoomClient):
    """Answers every wish with the truth, or always with the same wrong scene."""

    def __init__(self, world: World, trials: dict[Task, list[Trial]], wrong: Scene | None = None) -> None:
        super().__init__(RoomSettings())
        self.asked: list[GenerationParams] = []
        self._world = world
        self._wrong = wrong
        self._truth = {trial.words: trial.scene for task in TASKS for trial in trials[task] if task != "describe"}
        self._shown = {png(world.compose(trial.scene)): trial.scene for trial in trials["describe"]}

    def generate(self, spec: CheckpointSpec, params: GenerationParams, **_: Any) -> Iterator[Any]:
        self.asked.append(params)
        if params.capability == "describe":
            said = answer(self._wrong or self._shown[params.source or b""])
            yield from (Words(0, said[:3]), Words(0, said, final=True))
        else:
            scene = self._wrong or self._truth.get(params.prompt, Scene(self._world.names[0], "white"))
            pixels = self._world.compose(scene)
            yield encode(Fragment(Kind.FINAL, 0, 0, 0, 0, 128, 128, 1, 1, pixels))
        yield Figures(0.25, 0.35, 1.25, 1, "cpu", spec.name)


@pytest.fixture
def trials(world: World) -> dict[Task, list[Trial]]:
    """One of each wording only: the oracle knows a truth by its words."""
    made = {task: make_trials(world, task, COUNT, 1) for task in TASKS}
    for task in TASKS:
        made[task] = [
            replace(trial, words=f"{trial.words} {number}" if task == "edit" else trial.words)
            for number, trial in enumerate(made[task])
        ]
    return made


def tell(*_: object) -> None:
    """Nobody watches."""


def able(found: Measured, *capabilities: Capability) -> Measured:
    return Measured(found.spec, replace(found.facts, capabilities=capabilities))


def test_who_is_always_right_meets_every_bar(world: World, trials: dict[Task, list[Trial]], untried: Measured) -> None:
    room = Oracle(world, trials)
    found = measure(room, world, able(untried, *ALL), trials, tell)
    for family in FAMILIES:
        assert {cell.value for row, cell in cells(family, found).items() if row != "seconds"} == {1.0}
    assert understanding(found) == (1.0, 5)
    assert found.seconds == [1.0] * 2 * COUNT, "pictures from words only, loading and the first picture left out"
    assert found.first_seconds[0] == pytest.approx(0.1)
    assert len(room.asked) == 1 + 4 * COUNT
    assert all(
        params.temperature is params.steps is params.guidance is params.strength is None for params in room.asked
    )
    report = Report(COUNT, 1, 2, dict.fromkeys(FAMILIES, found))
    assert report.met and report.to_dict()["families"]["multimodal"]["wrong"] == []


def test_who_is_always_wrong_meets_none_but_the_clock(
    world: World, trials: dict[Task, list[Trial]], untried: Measured
) -> None:
    nowhere = Scene(world.names[5], "black", world.names[4], "above")
    found = measure(Oracle(world, trials, nowhere), world, able(untried, *ALL), trials, tell)
    values = cells("multimodal", found)
    assert [row for row in BARS["multimodal"] if values[row].passed] == ["seconds"]
    report = Report(COUNT, 1, 2, dict.fromkeys(FAMILIES, found))
    assert not report.met
    wrong = report.to_dict()["families"]["multimodal"]["wrong"]
    assert {entry["task"] for entry in wrong} == set(TASKS)
    assert {entry["words"] for entry in wrong if entry["task"] == "two"} == {trial.words for trial in trials["two"]}


def test_what_a_checkpoint_cannot_do_is_said(world: World, trials: dict[Task, list[Trial]], untried: Measured) -> None:
    drawing = measure(Oracle(world, trials), world, able(untried, "text_to_image"), trials, tell)
    assert way_of("edit", drawing.facts) is None
    assert [row for row in TITLES if cells("multimodal", drawing)[row].passed is False] == ["describe", "edit"]
    assert not [row for row in TITLES if cells("diffusion", drawing)[row].passed is False], "only reported"
    report = Report(COUNT, 1, 2, dict.fromkeys(FAMILIES, drawing))
    out = StringIO()
    Console(file=out, width=150).print(table(report))
    assert "cannot" in out.getvalue() and "missed" in out.getvalue()
    assert "cannot describe; cannot be told what to change" in markdown(report)
    assert len(notes(report)) == 1
    hurried = replace(report, load=3.14)
    assert all("busy with other work (load 3.1)" in text for text in (notes(hurried)[1], markdown(hurried)))


def test_image_to_image_gets_the_caption_and_is_not_called_understanding(
    world: World, trials: dict[Task, list[Trial]], untried: Measured
) -> None:
    trial = trials["edit"][0]
    wish = wish_for(world, trial, "image_to_image")
    assert wish.source is not None
    assert wish.prompt != trial.words and wish.prompt.endswith(f"on {trial.scene.ground}")
    found = measure(Oracle(world, trials), world, able(untried, "text_to_image", "image_to_image"), trials, tell)
    assert found.ways["edit"] == "image_to_image"
    assert understanding(found)[1] == 3
    assert "image to image, strength" in " ".join(notes(Report(COUNT, 1, 2, {"diffusion": found})))


def test_the_json_says_everything(world: World, trials: dict[Task, list[Trial]], untried: Measured) -> None:
    found = measure(Oracle(world, trials), world, able(untried, *ALL), trials, tell)
    told = json.loads(json.dumps(Report(COUNT, 1, 2, dict.fromkeys(FAMILIES, found)).to_dict()))
    assert told["families"]["multimodal"]["tasks"]["one"] == {"value": 1.0, "bar": 0.99, "passed": True}
    kinds = told["families"]["diffusion"]["kinds"]["edit"]
    assert sum(kind["of"] for kind in kinds.values()) == COUNT and len(kinds) == 7


def test_the_readme_keeps_everything_around_its_table(
    world: World, trials: dict[Task, list[Trial]], untried: Measured, tmp_path: Path
) -> None:
    found = measure(Oracle(world, trials), world, able(untried, *ALL), trials, tell)
    report, readme = Report(COUNT, 1, 2, dict.fromkeys(FAMILIES, found)), tmp_path / "README.md"
    readme.write_text(f"# Before\n\n{BEGIN}\nold\n{END}\n\n## After\n", encoding="utf-8")
    for _ in range(2):
        write_readme(readme, report)
    text = readme.read_text(encoding="utf-8")
    assert text == f"# Before\n\n{BEGIN}\n{markdown(report)}\n{END}\n\n## After\n"
    assert "| multimodal | 1.00 s a picture, first fragment after 0.10 s |" in text
    for spoilt in ("nothing", f"{END}\n{BEGIN}", f"{BEGIN}\n{BEGIN}\n{END}"):
        readme.write_text(spoilt, encoding="utf-8")
        with pytest.raises(MarkersError, match=r"README\.md needs"):
            write_readme(readme, report)
        assert readme.read_text(encoding="utf-8") == spoilt


def test_the_last_table_of_our_readme_is_made_by_the_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    made = text.split(BEGIN)[1].split(END)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in made.splitlines() if line.startswith("|")]
    assert rows[0] == list(COLUMNS)
    assert [row[0] for row in rows[2:]] == list(FAMILIES)
    assert all(len(row) == len(COLUMNS) and all(row) for row in rows)
    assert "\n|" not in text.split(END)[1], "it is the last table"


def test_percentages_are_short() -> None:
    assert [percent(value) for value in (1.0, 0.985, 0.9, 0.0)] == ["100 %", "98.5 %", "90 %", "0 %"]


def test_what_is_missing_to_render_the_world_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WorldUnavailableError, match="npm, which comes with Node.js"):
        build_world(tmp_path)
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error network is unreachable' >&2\nexit 1\n", encoding="utf-8")
    npm.chmod(0o700)
    with pytest.raises(WorldUnavailableError, match="could not fetch the icons: npm error network is unreachable"):
        build_world(tmp_path)
    bodies = json.dumps({"icons": {noun.icon: {"body": ""} for noun in NOUNS}}).encode()
    with tarfile.open(tmp_path / "iconify-json-fluent-emoji-0.tgz", "w:gz") as package:
        member = tarfile.TarInfo("package/icons.json")
        member.size = len(bodies)
        package.addfile(member, BytesIO(bodies))
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(WorldUnavailableError, match="resvg-py is not installed. Install it with: .* pip install"):
        build_world(tmp_path)
