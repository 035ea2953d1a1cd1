"""The report: one table for people, one JSON object for machines. Must not measure or judge."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.table import Table

from generation.engines.params import Family
from generation.evaluation.asking import Measured
from generation.evaluation.bars import FAMILIES, TITLES, Cell, Row, by_kind, cells, understanding
from generation.evaluation.scoring import Outcome
from generation.evaluation.trials import TASKS, Task

MARKS = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}
KIND_TITLES: Mapping[Task, str] = {"one": "prompt", "two": "prompt", "describe": "shown", "edit": "edit"}


@dataclass(frozen=True, slots=True)
class Report:
    """Both families, measured under the same conditions."""

    prompts: int
    seed: int
    threads: int
    families: Mapping[Family, Measured]
    load: float | None = None  # of other work on this machine, where it was too busy for honest seconds

    @property
    def met(self) -> bool:
        """Whether every bar is met; what a family should do and cannot is a miss."""
        return all(
            cell.passed is not False for family in FAMILIES for cell in cells(family, self.families[family]).values()
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        families = {family: _family(family, self.families[family]) for family in FAMILIES}
        conditions = {"prompts": self.prompts, "seed": self.seed, "threads": self.threads, "load": self.load}
        return {**conditions, "met": self.met, "families": families}


def table(report: Report) -> Table:
    """The tasks with their bars, then each task by kind."""
    made = Table(title=f"{report.prompts} unseen prompts a task, seed {report.seed}, {report.threads} CPU threads")
    made.add_column("task")
    for family in FAMILIES:
        for title in (family, "bar", ""):
            made.add_column(title, justify="right", no_wrap=True)
    columns = {family: cells(family, report.families[family]) for family in FAMILIES}
    for row, title in TITLES.items():
        made.add_row(title, *(text for family in FAMILIES for text in _texts(row, columns[family][row])))
    made.add_section()
    for task in TASKS:
        _add_kinds(made, report, task)
    return made


def notes(report: Report) -> list[str]:
    """What a reader must know to understand the figures."""
    said = ["Every prompt names objects, places and a colour in a combination that training never saw."]
    for family, found in report.families.items():
        if found.ways.get("edit") == "image_to_image":
            said.append(
                f"{family} cannot be told what to change: it gets the picture and the caption of what must come out "
                f"(image to image, strength {found.facts.defaults.get('strength')}), which is more than an instruction "
                "says. Not counted as understanding. No caption can say where what remains of a pair stands (remove)."
            )
    if report.load is not None:
        said.append(busy(report.load))
    return said


def busy(load: float) -> str:
    """Why the seconds are not to be trusted."""
    return f"The machine was busy with other work (load {load:.1f}), so the seconds are too high."


def percent(value: float) -> str:
    """With one decimal where it needs one."""
    return f"{value * 100:.1f} %".replace(".0 %", " %")


def _texts(row: Row, cell: Cell) -> tuple[str, str, str]:
    show = _seconds if row == "seconds" else percent
    sign = "<=" if row == "seconds" else ">="
    value = "cannot" if cell.value is None else show(cell.value)
    return value, "report" if cell.bar is None else f"{sign} {show(cell.bar)}", MARKS[cell.passed]


def _seconds(value: float) -> str:
    return f"{value:.2f} s"


def _add_kinds(made: Table, report: Report, task: Task) -> None:
    shares = {family: by_kind(report.families[family].outcomes.get(task, [])) for family in FAMILIES}
    for kind in sorted({kind for found in shares.values() for kind in found}):
        texts = []
        for family in FAMILIES:
            value, count = shares[family].get(kind, (0.0, 0))
            texts += [percent(value) if count else "cannot", f"of {count}" if count else "", ""]
        made.add_row(f"  {task}, {KIND_TITLES[task]}: {kind}", *texts)


def _family(family: Family, found: Measured) -> dict[str, Any]:
    mean, tasks = understanding(found)
    return {
        "checkpoint": found.spec.name,
        "device": found.device,
        "size_bytes": found.size_on_disk,
        "load_seconds": found.load_seconds,
        "first_fragment_seconds": median(found.first_seconds),
        "understanding": mean,
        "understanding_tasks": tasks,
        "ways": dict(found.ways),
        "tasks": {
            row: {"value": cell.value, "bar": cell.bar, "passed": cell.passed}
            for row, cell in cells(family, found).items()
        },
        "kinds": {
            task: {kind: {"value": value, "of": of} for kind, (value, of) in by_kind(outcomes).items()}
            for task, outcomes in found.outcomes.items()
        },
        "wrong": [_told(outcome) for outcomes in found.outcomes.values() for outcome in outcomes if not outcome.right],
    }


def _told(outcome: Outcome) -> dict[str, Any]:
    trial = outcome.trial
    return {"task": trial.task, "kind": trial.kind, "words": trial.words, "seed": trial.seed, "shown": outcome.shown}
