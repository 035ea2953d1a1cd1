"""The trainer as a child process of a command, and its reports on the screen: a bar on a terminal, else log lines.

The import contracts forbid torch in this process, so the trainer runs as `python -m generation.training` in a session
of its own: Ctrl-C reaches only this process, which then closes the child's stdin. The child sees the same when this
process is killed, saves and ends, so no training is left behind.
"""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from generation.training.reports import Report

DOOR = (sys.executable, "-m", "generation.training")
LOG_SECONDS = 10.0  # between two log lines of one stage
LAST_LINES = 12  # of what a trainer said that died without a report
FINAL = frozenset({"done", "stopped", "failed"})


class Trainer:
    """One child, from its start to its end."""

    def __init__(self, arguments: Sequence[str], cwd: str, *, loud: bool = False) -> None:
        self._said: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [*DOOR, *arguments, "--reports"],
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if loud else self._said,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._process.pid

    def follow(self, tell: Callable[[Report], None]) -> Report:
        """Hand on its reports until the last one, which is returned. Ctrl-C asks it to save, a second one kills it."""
        try:
            try:
                return self._listen(tell)
            except KeyboardInterrupt:
                tell(Report("note", "Saving. Ctrl-C again gives up what was learned since the last checkpoint."))
                self._close()
                return self._listen(tell)
        finally:
            self._process.kill()
            self._process.wait()
            self._close()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._said.close()

    def _listen(self, tell: Callable[[Report], None]) -> Report:
        last: Report | None = None
        assert self._process.stdout is not None  # noqa: S101 - a pipe, see above
        for line in self._process.stdout:
            report = Report.from_line(line)
            if report is not None and report.kind in FINAL:
                last = report
            elif report is not None:
                tell(report)
        code = self._process.wait()
        return last or self._death(code)

    def _death(self, code: int) -> Report:
        if code < 0:
            text = f"The trainer was killed (signal {-code}), perhaps for want of memory. Go on with --resume."
            return Report("failed", text, exit_code=1)
        self._said.seek(0)
        lines = "".join(self._said.readlines()[-LAST_LINES:]).rstrip()
        return Report("failed", f"The trainer failed:\n{lines}\nThe last checkpoint is kept.", exit_code=1)

    def _close(self) -> None:
        """The leash."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()


class Screen:
    """Shows reports. On a terminal one bar for the whole budget, above it a line for each stage that has ended."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figures]}")
        self._progress = Progress(
            *columns, console=self._console, transient=True, disable=not self._console.is_terminal, auto_refresh=True
        )
        self._task: TaskID = self._progress.add_task("Starting the trainer", total=None, figures="")
        self._logged = 0.0

    def __enter__(self) -> "Screen":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, report: Report) -> None:
        """One report."""
        if self._console.is_terminal:
            self._draw(report)
        else:
            self._log(report)

    def _draw(self, report: Report) -> None:
        if report.kind == "note":
            self._progress.update(self._task, description=report.text, figures="")
            return
        if report.kind == "ended":
            self._progress.console.print(report.sentence(), highlight=False, markup=False)
        figures = f"step {report.step}  loss {report.loss:.4f}  {clock(report.gone)} gone, {clock(report.left)} left"
        self._progress.update(
            self._task,
            description=f"{report.number}/{report.of} {report.stage}",
            completed=report.gone,
            total=report.gone + report.left,
            figures=figures,
        )

    def _log(self, report: Report) -> None:
        now = time.monotonic()
        if report.kind == "step" and now - self._logged < LOG_SECONDS:
            return
        self._logged = now
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {report.sentence()}\n")
        sys.stderr.flush()


def clock(minutes: float) -> str:
    """Like 1:05:09 or 3:20."""
    seconds = round(minutes * 60)
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
