"""How far a course of training has come: a small JSON file beside its checkpoints, renamed into place.

Written after the checkpoint that it speaks of: a kill between the two only trains a little twice. Must not know stages.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from generation.training.errors import TrainingError

FILE = "course.json"


@dataclass(slots=True)
class Progress:
    """One stage: minutes trained and steps taken over all resumes, its first and its latest loss."""

    gone: float = 0.0
    steps: int = 0
    first: float = 0.0
    loss: float = 0.0
    done: bool = False


@dataclass(slots=True)
class State:
    """One training of a starter, from nothing to the folder."""

    starter: str
    seed: int
    minutes: float
    steps: int | None = None  # each stage takes so many, instead of minutes
    stages: dict[str, Progress] = field(default_factory=dict)

    def of(self, stage: str) -> Progress:
        """Its progress, none at first."""
        return self.stages.setdefault(stage, Progress())

    def take_budget(self, minutes: float | None, steps: int | None) -> None:
        """A new one takes the place of the old one, so that minutes count again after a trial by steps."""
        if minutes is not None or steps is not None:
            self.steps = steps
        if minutes is not None:
            self.minutes = minutes

    def save(self, folder: Path) -> None:
        """All of it or nothing."""
        draft = folder / f"{FILE}.part"
        draft.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        draft.replace(folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """None when no training has begun here. Raises TrainingError for a file that is not ours."""
        try:
            values = json.loads((folder / FILE).read_text(encoding="utf-8"))
            stages = {name: Progress(**progress) for name, progress in values.pop("stages").items()}
            return cls(**values, stages=stages)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            message = f"{folder / FILE} cannot be read: {error}."
            raise TrainingError("state_unreadable", message, hint=f"Delete {folder} and begin anew.") from error
