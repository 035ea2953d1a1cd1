"""Credit, order and newest-wins of one socket, as plain Python."""

import uuid
from dataclasses import replace

from generation.engines.fragments import Kind
from generation.events import Frame
from generation.inbound import BURST, COSTS, RATE, Budget
from generation.outbox import CREDIT, PENDING_LIMIT, TRACKS_LIMIT, Outbox

REQUEST = uuid.uuid4()


def fragment(sequence: int, *, run: int = 1, index: int = 0, request: uuid.UUID = REQUEST) -> Frame:
    return Frame(Kind.FRAGMENT, request, run, index, sequence, 0, 0, 8, 8, 64, 64, 1, 8, b"")


def preview(sequence: int, **places: int) -> Frame:
    return replace(fragment(sequence, **places), kind=Kind.PREVIEW)


def give(outbox: Outbox, frame: Frame) -> bool:
    sent = outbox.offer(frame)
    if sent:
        outbox.took(frame, 0.0)
    return sent


def test_fragments_go_out_in_order_once_and_within_credit() -> None:
    outbox = Outbox()
    assert [give(outbox, fragment(n)) for n in (0, 1, 1, 0, 2)] == [True, True, False, False, True]
    assert sum(give(outbox, fragment(n)) for n in range(3, 40)) == CREDIT - 3
    assert outbox.tracks[REQUEST].behind
    assert outbox.credit == 0


def test_a_gap_marks_the_request_as_behind() -> None:
    outbox = Outbox()
    give(outbox, fragment(0))
    assert not give(outbox, fragment(2))
    assert not give(outbox, fragment(1)), "the live store sends it, in order"
    assert outbox.next_behind() == (REQUEST, outbox.tracks[REQUEST])


def test_of_waiting_previews_only_the_newest_stays() -> None:
    outbox = Outbox()
    for sequence in range(CREDIT):
        assert give(outbox, preview(sequence))
    for sequence in (CREDIT, CREDIT + 2, CREDIT + 1):
        assert not give(outbox, preview(sequence))
    assert outbox.next_preview() is None
    outbox.acknowledge(1, 0.0)
    waiting = outbox.next_preview()
    assert waiting is not None
    assert waiting.sequence == CREDIT + 2
    assert outbox.next_preview() is None


def test_nothing_grows_without_bound() -> None:
    outbox = Outbox()
    for sequence in range(CREDIT):
        give(outbox, fragment(sequence))
    for number in range(1000):
        give(outbox, preview(0, index=number))
        give(outbox, fragment(0, request=uuid.uuid4()))
    assert len(outbox.previews) <= PENDING_LIMIT
    assert len(outbox.tracks) <= TRACKS_LIMIT


def test_acknowledgements_only_move_forward_and_never_beyond_what_was_sent() -> None:
    outbox = Outbox()
    for sequence in range(4):
        give(outbox, fragment(sequence))
    assert [outbox.acknowledge(n, 0.0) for n in (5, 3, 3, 2, 0, 4)] == [False, True, False, False, False, True]
    assert outbox.credit == CREDIT


def test_a_client_stalls_only_while_frames_wait_for_it() -> None:
    outbox = Outbox()
    assert not outbox.stalled(1000.0, 30)
    outbox.offer(fragment(0))
    outbox.took(fragment(0), 1000.0)
    assert not outbox.stalled(1029.0, 30)
    assert outbox.stalled(1031.0, 30)
    outbox.acknowledge(1, 1031.0)
    assert not outbox.stalled(9000.0, 30)


def test_a_new_run_starts_again_and_an_old_one_is_silent() -> None:
    outbox = Outbox()
    give(outbox, fragment(0))
    assert give(outbox, fragment(0, run=2))
    assert not give(outbox, fragment(1, run=1))
    assert not give(outbox, preview(5, run=1))


def test_rewind_and_forget() -> None:
    outbox = Outbox()
    for sequence in range(4):
        give(outbox, fragment(sequence))
    outbox.rewind(REQUEST, 1, {0: 2})
    track = outbox.tracks[REQUEST]
    assert (track.behind, track.have) == (True, {(Kind.FRAGMENT, 0): 2})
    outbox.follow(REQUEST)
    assert outbox.tracks[REQUEST] is track, "following twice asks for nothing twice"
    outbox.forget(REQUEST)
    assert outbox.next_behind() is None


def test_the_budget_fills_again() -> None:
    budget = Budget()
    assert sum(budget.take(0.0) for _ in range(1000)) == int(BURST)
    assert sum(budget.take(1.0) for _ in range(1000)) == int(RATE)


def test_what_the_database_answers_costs_more() -> None:
    assert sum(Budget().take(0.0, COSTS["snapshot"]) for _ in range(1)) == 1
    budget = Budget()
    assert sum(budget.take(0.0, COSTS["snapshot"]) for _ in range(1000)) == BURST // COSTS["snapshot"]
    assert sum(budget.take(1.0, COSTS["resume"]) for _ in range(1000)) == 1
