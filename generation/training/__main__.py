"""The trainers' door: `python -m generation.training STARTER [--minutes N] [--resume]`, from nothing to the folder.

`manage.py train_starter` runs it as a child with `--reports`: reports then go to stdout, one JSON object a line, and
the child stops with a checkpoint when its stdin ends, which it also does when the command is killed. Without it, it
writes log lines, and SIGINT or SIGTERM stop it. Exit codes as the command's. Torch is loaded when all else is checked.
"""

import argparse
import contextlib
import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import FrameType, ModuleType

from generation.training.course import Course
from generation.training.errors import TrainingError
from generation.training.preparing import build_world, require_empty, require_replaceable, training_folder
from generation.training.reports import Report
from generation.training.state import State

COURSES = {
    "diffusion": "generation.training.diffusion.course",
    "multimodal": "generation.training.multimodal.course",
}
DATA = "data/training"
STOPPED = 130  # as a shell reports Ctrl-C
SEEDS = 2**32  # of torch, numpy and the standard library, numpy takes the fewest
Tell = Callable[[Report], None]
_log = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    """The same switches as the command's, and --reports."""
    asked = argparse.ArgumentParser(prog="python -m generation.training", description=__doc__)
    asked.add_argument("starter", choices=tuple(COURSES))
    asked.add_argument("--minutes", type=float, help="the whole budget; the shipped starter's when left out")
    asked.add_argument("--steps", type=int, help="so many steps in each stage, instead of minutes")
    asked.add_argument("--seed", type=int, help="the plan's own when left out")
    asked.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves it to torch")
    asked.add_argument("--resume", action="store_true")
    asked.add_argument("--folder", type=Path, help="where data and checkpoints are kept")
    asked.add_argument("--output", type=Path, help="where the loadable folder is written")
    asked.add_argument("--reports", action="store_true", help="for the command that started this")
    return asked


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; returns the exit code."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)
    _log.setLevel(logging.INFO)
    tell = write_line if options.reports else write_log
    stop = Stop()
    signal.signal(signal.SIGINT, stop.on_signal)
    signal.signal(signal.SIGTERM, stop.on_signal)
    if options.reports:
        threading.Thread(target=stop.when_stdin_ends, daemon=True).start()
    try:
        return train(options, tell, stop)
    except TrainingError as error:
        tell(Report("failed", str(error), exit_code=error.exit_code))
        return error.exit_code
    except KeyboardInterrupt:
        tell(Report("stopped", "Stopped.", exit_code=STOPPED))
        return STOPPED


def train(options: argparse.Namespace, tell: Tell, stop: "Stop") -> int:
    """Check, prepare, run the course."""
    data = (options.folder or Path(os.environ.get("TESSERA_TRAINING_DIR", DATA))).resolve()
    folder = data / f"{options.starter}-starter"  # apart from what the developers' doors keep in data / starter
    output = (options.output or folder / "starter").resolve()
    with training_folder(folder):
        require_replaceable(output, folder)
        begun = State.load(folder)
        if not options.resume:
            require_empty(folder)
        elif begun is None:
            require_empty(folder)
            tell(Report("note", f"Nothing was begun in {folder}: beginning from nothing."))
        require_agreement(options, begun)
        tell(Report("note", "Preparing the data set."))
        world = build_world(data / "cache")
        tell(Report("note", "Loading torch."))
        family = _load(COURSES[options.starter], options.threads)
        state = begun or State(options.starter, family.SEED if options.seed is None else options.seed, family.MINUTES)
        state.take_budget(options.minutes, options.steps)
        stages = family.stages(world, folder, output, state.seed, state.minutes)
        for stage in stages:
            state.of(stage.name)  # in their order
        if not output.exists():  # else a finished training has nothing to do
            state.of(stages[-1].name).done = False
        stop.course = Course(folder, state, stages, tell)
        if stop.asked:
            raise KeyboardInterrupt
        if not stop.course.run(resume=begun is not None):
            tell(Report("stopped", "Stopped and saved.", exit_code=STOPPED))
            return STOPPED
    tell(Report("done", f"The starter is in {output}"))
    return 0


def require_agreement(options: argparse.Namespace, begun: State | None) -> None:
    """What was begun keeps its seed; a budget may change."""
    if any(budget is not None and not 0 < budget < math.inf for budget in (options.minutes, options.steps)):
        raise TrainingError("wrong_budget", "Give --minutes and --steps more than nothing, and an end.", exit_code=2)
    if options.seed is not None and not 0 <= options.seed < SEEDS:
        raise TrainingError("wrong_seed", f"Give a --seed from 0 to {SEEDS - 1}.", exit_code=2)
    if begun is not None and options.seed not in (None, begun.seed):
        message = f"This training was begun with --seed {begun.seed}."
        raise TrainingError("other_seed", message, hint="Leave --seed out, or choose another --folder.", exit_code=2)


class Stop:
    """Ctrl-C for a course: between two steps while it steps; at once while it prepares or writes what can be redone."""

    def __init__(self) -> None:
        self.asked = False
        self.course: Course | None = None

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Runs in the main thread."""
        self.asked = True
        if self.course is not None:
            self.course.stopping = True
        if self.course is None or not self.course.stepping:
            raise KeyboardInterrupt

    def when_stdin_ends(self) -> None:
        """The command asks by closing it, or is dead."""
        with contextlib.suppress(OSError, ValueError):
            while os.read(0, 1024):
                pass
        os.kill(os.getpid(), signal.SIGINT)


def write_line(report: Report) -> None:
    """For the command. Nobody needs it when that is gone."""
    with contextlib.suppress(OSError):
        sys.stdout.write(report.to_line() + "\n")
        sys.stdout.flush()


def write_log(report: Report) -> None:
    """For a developer."""
    _log.info("%s", report.sentence())


def _load(course: str, threads: int) -> ModuleType:
    try:
        import torch

        if threads:
            torch.set_num_threads(threads)
        return import_module(course)
    except ModuleNotFoundError as error:
        hint = "Install it: .venv/bin/python -m pip install ."
        raise TrainingError(
            "package_missing", f"The Python package {error.name} is missing.", hint=hint, exit_code=2
        ) from error


if __name__ == "__main__":
    sys.exit(main())
