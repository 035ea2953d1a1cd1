"""Who is served next: the policy alone, as plain Python."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from generation.scheduler import LOOK_AHEAD, NEVER, PATIENCE, Candidate, Line

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ALICE, BOB, CARL = (uuid.UUID(int=number) for number in (1, 2, 3))


def waiting(owner: uuid.UUID, second: int, checkpoint: str = "tiny") -> Candidate:
    """Asked `second` seconds after noon."""
    return Candidate(uuid.uuid4(), owner, checkpoint, NOON + timedelta(seconds=second))


def order(candidates: list[Candidate], served: Mapping[uuid.UUID, datetime] | None = None) -> list[Candidate]:
    """The fair order."""
    return list(Line.of(candidates, served or {}).fair_order())


def choose(
    candidates: list[Candidate],
    resident: list[str],
    *,
    now: datetime = NOON,
    passed_over: Mapping[uuid.UUID, datetime] | None = None,
) -> tuple[Candidate | None, list[Candidate]]:
    """Who is chosen, and whom it overtakes."""
    return Line.of(candidates, {}).choose(resident, now, passed_over or {})


def test_nobody_waits() -> None:
    assert choose([], ["tiny"]) == (None, [])


def test_one_owner_is_served_oldest_first() -> None:
    first, second, third = (waiting(ALICE, second) for second in (1, 2, 3))
    assert order([third, first, second]) == [first, second, third]


def test_owners_take_turns_however_much_one_asks_for() -> None:
    alice = [waiting(ALICE, second) for second in (1, 2, 3)]
    bob = waiting(BOB, 9)
    assert order([*alice, bob]) == [alice[0], bob, alice[1], alice[2]]


def test_the_owner_served_longest_ago_goes_first() -> None:
    alice, bob, carl = waiting(ALICE, 1), waiting(BOB, 2), waiting(CARL, 3)
    served = {ALICE: NOON, BOB: NOON - timedelta(minutes=5)}
    assert order([alice, bob, carl], served) == [carl, bob, alice]


def test_a_loaded_checkpoint_is_preferred() -> None:
    cold, warm = waiting(ALICE, 1, "big"), waiting(BOB, 2)
    assert choose([cold, warm], ["tiny"]) == (warm, [cold])


def test_without_a_loaded_one_the_order_is_fair() -> None:
    first, second = waiting(ALICE, 1, "big"), waiting(BOB, 2, "huge")
    assert choose([first, second], ["tiny"]) == (first, [])


def test_nobody_is_passed_over_for_longer_than_the_bound() -> None:
    cold, warm = waiting(ALICE, 1, "big"), waiting(BOB, 2)
    passed = {cold.id: NOON}
    assert choose([cold, warm], ["tiny"], now=NOON + PATIENCE / 2, passed_over=passed)[0] is warm
    assert choose([cold, warm], ["tiny"], now=NOON + PATIENCE, passed_over=passed) == (cold, [])


def test_only_the_next_few_may_overtake() -> None:
    cold = [waiting(ALICE, second, "big") for second in range(LOOK_AHEAD)]
    warm = waiting(ALICE, 99)
    assert choose([*cold, warm], ["tiny"]) == (cold[0], [])
    assert choose([*cold[1:], warm], ["tiny"])[0] is warm


def test_everybody_is_served_once_and_in_turn() -> None:
    candidates = [waiting(owner, second) for second, owner in enumerate([ALICE] * 6 + [BOB] * 3 + [CARL])]
    line, served = Line.of(candidates, {}), []
    for minute in range(len(candidates)):
        chosen, _ = line.choose([], NOON, {})
        assert chosen is not None
        line.serve(chosen, NOON + timedelta(minutes=minute))
        served.append(chosen)
    assert line.choose([], NOON, {}) == (None, [])
    assert sorted(served, key=lambda one: one.created_at) == candidates
    assert [one.owner for one in served] == [ALICE, BOB, CARL, ALICE, BOB, ALICE, BOB, ALICE, ALICE, ALICE]


def test_never_is_before_every_time() -> None:
    assert NEVER < NOON
