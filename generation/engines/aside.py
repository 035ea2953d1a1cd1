"""Turn work that only talks by call-backs into an iterator, by running it on a thread of its own."""

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Event, Thread
from typing import TypeVar

Item = TypeVar("Item")
Emit = Callable[[Item], None]


class ClosedError(Exception):
    """Raised inside the work when nobody listens any more."""


def iterate_aside(work: Callable[[Emit[Item]], None]) -> Iterator[Item]:
    """Yield what `work` emits.

    An exception of the work is raised here. Closing the iterator ends the work at its next emit, and waits for that.
    """
    items: SimpleQueue[Item | None] = SimpleQueue()
    closed, failures = Event(), list[BaseException]()

    def emit(item: Item) -> None:
        if closed.is_set():
            raise ClosedError
        items.put(item)

    def run() -> None:
        try:
            work(emit)
        except ClosedError:
            pass
        except BaseException as error:  # noqa: BLE001 it is raised again below, where somebody can act on it
            failures.append(error)
        finally:
            items.put(None)

    thread = Thread(target=run, name="drawing", daemon=True)
    thread.start()
    try:
        while (item := items.get()) is not None:
            yield item
    finally:
        closed.set()
        thread.join()
    if failures:
        raise failures.pop()
