"""The simulator's figures mean what they say: days small enough to be reckoned by hand."""

import pytest

from generation.policy.choice import Rules
from generation.policy.line import Waiting
from generation.simulation.days import CLASSES, SHELF, Day, Job, Weights, made_up
from generation.simulation.figures import outcome
from generation.simulation.play import play
from generation.simulation.report import policies, trial
from generation.simulation.rivals import Fifo, House, Policy, RoundRobin

TWO = {"a": Weights("a", 10, 5, 10, 1), "b": Weights("b", 20, 8, 10, 1)}


def job(number: int, owner: str, checkpoint: str, at: float, seconds: float = 10, *, night: bool = False) -> Job:
    """Foretold exactly."""
    one = Waiting(number, owner, checkpoint, seconds, at, at, overnight=night)
    return Job(one, seconds, "night" if night else "light")


BY_HAND = Day((job(1, "ann", "a", 0), job(2, "ann", "b", 1), job(3, "bob", "a", 2), job(4, "ann", "a", 100)), TWO, 1)


def test_first_in_first_out_by_hand() -> None:
    drawn = play(BY_HAND, Fifo())
    # 0 load a 5 draw 15 load b 23 draw 33 load a 38 draw 48, idle, 100 draw 110
    assert [(one.job.waiting.id, one.taken, one.began, one.ended) for one in drawn] == [
        (1, 0, 5, 15),
        (2, 15, 23, 33),
        (3, 33, 38, 48),
        (4, 100, 100, 110),
    ]
    found = outcome(drawn, 1)
    assert (found.requests, found.swaps) == (4, 3)
    assert (found.drawing, found.loading) == (pytest.approx(40 / 110), pytest.approx(18 / 110))
    assert [one.wait for one in drawn] == [5, 22, 36, 0]
    assert (found.everybody.p50, found.everybody.p95, found.everybody.most) == (5, 36, 36)


def test_the_house_draws_on_with_what_is_loaded() -> None:
    day = Day((*BY_HAND.jobs[:2], *(job(n, f"p{n}", "a", 2 + n) for n in range(3, 6))), TWO, 1)
    drawn = play(day, House(Rules(quantum=30, stay=3)))
    assert [one.job.waiting.id for one in drawn] == [1, 3, 4, 2, 5], "until it has drawn 3 times the 8 seconds of b"
    assert outcome(drawn, 1).passed == 20, "the second was passed over for two drawings"


def test_round_robin_takes_turns() -> None:
    flood = [job(number, "ann", "a", 0) for number in range(3)]
    drawn = play(Day((*flood, job(9, "bob", "a", 1)), TWO, 1), RoundRobin())
    assert [one.job.waiting.id for one in drawn] == [0, 1, 9, 2], "bob came when the second was next already"


def test_two_devices_share_the_work_and_warm_ones_are_waited_for() -> None:
    day = Day((job(1, "ann", "a", 0), job(2, "bob", "b", 0), job(3, "eve", "a", 9), job(4, "zoe", "b", 9)), TWO, 2)
    drawn = play(day, House())
    assert outcome(drawn, 2).swaps == 2
    assert [one.began for one in sorted(drawn, key=lambda one: one.job.waiting.id)] == [5, 8, 15, 18]


def test_what_no_longer_fits_is_evicted() -> None:
    day = Day(tuple(job(n, "ann", "ab"[n % 2], 100 * n) for n in range(4)), TWO, 1)
    assert outcome(play(day, Fifo()), 1).swaps == 4, "30 GB do not fit into 24"
    assert outcome(play(Day(day.jobs, TWO, 1, gigabytes=30), Fifo()), 1).swaps == 2


def test_the_night_is_seen_when_it_overtakes() -> None:
    day = Day((job(1, "ann", "a", 0), job(2, "bob", "a", 1, night=True), job(3, "eve", "a", 2)), TWO, 1)
    assert outcome(play(day, Fifo()), 1).early_nights == 1
    assert outcome(play(day, House()), 1).early_nights == 0


def test_the_night_gives_way_between_two_pictures() -> None:
    night = Job(Waiting(1, "ann", "a", 10, 0, 0, overnight=True, portions=3), 30, "night")
    day = Day((night, job(2, "bob", "a", 7)), TWO, 1)
    drawn = play(day, House())
    assert [(one.job.waiting.id, one.began, one.ended) for one in drawn] == [
        (1, 5, 15),
        (2, 15, 25),
        (1, 25, 35),
        (1, 35, 45),
    ]
    found = outcome(drawn, 1)
    assert (found.requests, found.drawing, found.early_nights) == (2, pytest.approx(40 / 45), 0)
    assert found.of["night"].most == 35, "until its last picture is begun"
    assert [one.seconds for one in play(day, Fifo())] == [30, 10], "others draw it at one go"


def test_a_made_up_day_is_the_same_for_the_same_seed_and_as_full_as_was_asked() -> None:
    day = made_up(40, 2, seed=5, load=0.5)
    assert day == made_up(40, 2, seed=5, load=0.5) != made_up(40, 2, seed=6, load=0.5)
    drawing = sum(one.seconds for one in day.jobs if one.kind != "night")
    assert 0.5 <= drawing / (2 * 10 * 3600) < 0.53
    assert {one.kind for one in day.jobs} <= set(CLASSES)
    assert [one.waiting.asked_at for one in day.jobs] == sorted(one.waiting.asked_at for one in day.jobs)
    assert set(day.shelf) == {one.name for one in SHELF}


@pytest.mark.parametrize("name", policies(Rules()))
def test_every_policy_serves_everybody_once(name: str) -> None:
    day = made_up(20, 2, load=0.3)
    policy: Policy = policies(Rules())[name]
    drawn = play(day, policy)
    assert sorted(one.job.waiting.id for one in drawn if one.last) == sorted(one.waiting.id for one in day.jobs)
    assert sum(one.seconds for one in drawn) == pytest.approx(sum(one.seconds for one in day.jobs))
    for card in range(2):
        assert card < day.devices
    assert all(one.wait >= 0 for one in drawn)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_bars_hold_on_a_small_day(seed: int) -> None:
    rows = trial("day", made_up(20, 1, load=0.75, seed=seed), Rules()).rows
    assert [row for row in rows if row.holds is False] == []
    assert sum(row.holds is True for row in rows) >= 10
