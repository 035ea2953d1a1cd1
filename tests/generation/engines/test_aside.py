"""Work that only talks by call-backs, as an iterator: on one thread, and put in order however it ends."""

import weakref
from threading import Thread, get_ident

import pytest
import torch
from greenlet import greenlet

from generation.engines.aside import Emit, iterate_aside


def test_the_items_come_one_by_one_while_the_work_rests() -> None:
    done: list[int] = []

    def work(emit: Emit[int]) -> None:
        for number in range(3):
            emit(number)
            done.append(number)

    items = iterate_aside(work)
    assert done == []
    assert next(items) == 0
    assert done == []
    assert list(items) == [1, 2]
    assert done == [0, 1, 2]


def test_the_work_is_done_in_the_thread_that_asks() -> None:
    assert list(iterate_aside(lambda emit: emit(get_ident()))) == [get_ident()]


def test_work_without_an_item_ends() -> None:
    assert list(iterate_aside(lambda emit: None)) == []


def test_an_error_of_the_work_is_raised_where_its_items_are_taken() -> None:
    def work(emit: Emit[int]) -> None:
        emit(1)
        raise ValueError("no more")

    items = iterate_aside(work)
    assert next(items) == 1
    with pytest.raises(ValueError, match="no more"):
        next(items)
    assert list(items) == []


def test_closing_ends_the_work_where_it_rests_even_if_it_does_not_want_to() -> None:
    seen: list[str] = []

    def work(emit: Emit[int]) -> None:
        try:
            emit(1)
        except Exception:  # noqa: BLE001
            seen.append("taken for a failure")  # a library that goes on after any error
        finally:
            seen.append("put in order")
            emit(2)
        seen.append("went on")

    items = iterate_aside(work)
    next(items)
    items.close()
    assert seen == ["put in order"]


def test_gradients_that_the_work_turned_off_are_off_for_the_work_only() -> None:
    inside: list[bool] = []

    def work(emit: Emit[int]) -> None:
        with torch.no_grad():
            for number in range(2):
                emit(number)
                inside.append(torch.is_grad_enabled())

    first, second = iterate_aside(work), iterate_aside(work)
    for _ in zip(first, second, strict=True):
        assert torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    assert inside == [False] * 4
    unfinished = iterate_aside(work)
    next(unfinished)
    unfinished.close()
    assert torch.is_grad_enabled()


def test_who_asks_keeps_the_grad_mode_that_they_changed_meanwhile() -> None:
    def work(emit: Emit[int]) -> None:
        with torch.no_grad():
            for number in range(2):
                emit(number)

    items = iterate_aside(work)
    next(items)
    with torch.no_grad():
        assert list(items) == [1]
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()


def test_dropped_in_another_thread_it_ends_with_the_next_turn_in_its_own() -> None:
    held, ended = torch.ones(4), list[int]()
    life = weakref.ref(held)

    def work(emit: Emit[int], inside: torch.Tensor = held) -> None:
        try:
            with torch.no_grad():
                emit(len(inside))
        finally:
            ended.append(get_ident())

    box = [iterate_aside(work)]
    next(box[0])
    del held, work
    thread = Thread(target=box.clear)
    thread.start()
    thread.join()
    assert list(iterate_aside(lambda emit: emit(1))) == [1]
    assert ended == [get_ident()]
    assert life() is None
    assert torch.is_grad_enabled()


def test_closing_returns_to_who_closes() -> None:
    items, closed = iterate_aside(lambda emit: emit(1)), list[bool]()
    assert greenlet(lambda: next(items)).switch() == 1

    def close() -> None:
        items.close()  # type: ignore[attr-defined]
        closed.append(True)

    greenlet(close).switch()
    assert closed == [True]
