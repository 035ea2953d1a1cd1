"""Turn work that only talks by call-backs into an iterator, on the same thread.

Not on a thread of its own: each thread keeps a team of OpenMP workers, and two teams on one device's cores wait for
each other at every product (docs/performance.md). So the work has a stack of its own, and both take turns.
"""

from collections.abc import Callable, Iterator
from typing import TypeVar, cast

import torch
from greenlet import getcurrent, greenlet

Item = TypeVar("Item")
Emit = Callable[[Item], None]


def iterate_aside(work: Callable[[Emit[Item]], None]) -> Iterator[Item]:
    """Yield what `work` emits; it rests until the next item is asked for.

    An exception of the work is raised here. Closing the iterator ends the work where it rests, by a GreenletExit.
    Close it in the thread that asked for its items.
    """
    graded = torch.is_grad_enabled()

    def emit(item: Item) -> None:
        with torch.set_grad_enabled(graded):  # what the work turned off is not off for who listens
            cast(greenlet, worker.parent).switch(item)

    worker = greenlet(work)
    try:
        item = worker.switch(emit)
        while not worker.dead:
            yield cast(Item, item)
            worker.parent = getcurrent()  # may be another one by now
            item = worker.switch()
    finally:
        while not worker.dead:
            worker.throw()
