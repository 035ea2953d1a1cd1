"""Shows in the terminal how the welcome pictures come along."""

from collections.abc import Sequence
from typing import IO, cast
from uuid import UUID

from django.core.management.base import OutputWrapper
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from core.supervisor import Supervisor
from generation.models import GenerationRequest

WAIT_SECONDS = 600


def show_welcome(requests: Sequence[GenerationRequest], supervisor: Supervisor, out: OutputWrapper) -> None:
    """Wait until every request is final, with a bar each; say how it went."""
    if not requests:
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(file=cast(IO[str], out))) as progress:
        tasks = {request.pk: _row(progress, request) for request in requests}
        supervisor.watch(lambda: _update(progress, tasks), WAIT_SECONDS)
    for request in GenerationRequest.objects.filter(pk__in=tasks).select_related("checkpoint"):
        out.write(f"  {_outcome(request)}\n")
    out.flush()


def _row(progress: Progress, request: GenerationRequest) -> TaskID:
    return progress.add_task(f"Welcome picture by {request.checkpoint.title}", total=None, state=request.state)


def _update(progress: Progress, tasks: dict[UUID, TaskID]) -> bool:
    """Refresh the bars; true when every request is final."""
    found = list(GenerationRequest.objects.filter(pk__in=tasks))
    for request in found:
        total, done = (1, 1) if request.is_final else (request.steps or None, request.step)
        progress.update(tasks[request.pk], total=total, completed=done, state=request.state)
    return all(request.is_final for request in found)


def _outcome(request: GenerationRequest) -> str:
    if request.state == GenerationRequest.State.COMPLETED:
        seconds = request.figures.get("total_seconds")
        return f"{request.checkpoint.title}: drawn" + (f" in {seconds:.1f} s" if seconds else "")
    return f"{request.checkpoint.title}: {request.state}. {request.error_message} {request.error_hint}".rstrip()
