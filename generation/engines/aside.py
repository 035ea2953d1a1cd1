"""Turn work that only talks by call-backs into an iterator, on the same thread.

Not on a thread of its own: each thread keeps a team of OpenMP workers, and two teams on one device's cores wait for
each other at every product (docs/performance.md). So the work has a stack of its own, and both take turns.
"""

from collections.abc import Callable, Iterator
from threading import get_ident
from typing import TypeVar, cast

import torch
from greenlet import getcurrent, greenlet

Item = TypeVar("Item")
Emit = Callable[[Item], None]


def iterate_aside(work: Callable[[Emit[Item]], None]) -> Iterator[Item]:
    """Yield what `work` emits; it rests until the next item is asked for.

    An exception of the work is raised here. Closing the iterator ends the work where it rests, by a GreenletExit.
    Dropped in another thread, the work ends with the next turn of the thread that asked for its items.
    """
    owner, graded = get_ident(), torch.is_grad_enabled()

    def emit(item: Item) -> None:
        with torch.set_grad_enabled(graded):  # what the work turned off is not off for who listens
            cast(greenlet, getcurrent().parent).switch(item)  # not by its name: it would hold itself, and never go

    worker = greenlet(work)
    try:
        item = _turn(worker, emit)
        while not worker.dead:
            yield cast(Item, item)
            item = _turn(worker)
    finally:
        while not worker.dead and owner == get_ident():
            _turn(worker, end=True)


def _turn(worker: greenlet, *given: object, end: bool = False) -> object:
    """Let it work up to its next item; who asks has the grad mode that they had, however it goes."""
    worker.parent = getcurrent()  # may be another one by now
    with torch.set_grad_enabled(torch.is_grad_enabled()):
        return cast(object, worker.throw() if end else worker.switch(*given))
