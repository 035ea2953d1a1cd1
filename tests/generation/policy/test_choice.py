"""Whom a device serves next: turns, lanes, promotion, own order, and when a loaded checkpoint goes first."""

import pytest

from generation.policy.choice import Chooser, DeviceNow, Rules
from generation.policy.line import Line
from generation.policy.turns import Turns
from tests.generation.policy.lines import RULES, Server, served, waiting


def test_nobody_waits() -> None:
    assert Server(Line()).choose() is None


def test_one_person_is_served_in_the_order_of_asking() -> None:
    first, second, third = (waiting("ann", at=at) for at in (1, 2, 3))
    assert served(third, first, second) == [first, second, third]


def test_what_was_moved_up_comes_first_among_ones_own_and_gains_nothing_on_others() -> None:
    bob = waiting("bob", at=1)
    first, second = waiting("ann", at=2), waiting("ann", at=3, sort_at=0)
    assert served(first, second, bob) == [bob, second, first]


def test_people_take_turns_however_much_one_asks_for() -> None:
    ann, bob = [waiting("ann", seconds=10, at=at) for at in range(4)], waiting("bob", at=9)
    assert served(*ann, bob) == [ann[0], bob, *ann[1:]]


def test_within_a_quantum_it_is_first_come_first_served() -> None:
    ann, bob = [waiting("ann", seconds=4, at=at) for at in range(4)], waiting("bob", at=9)
    assert served(*ann, bob) == [*ann[:3], bob, ann[3]], "after 12 of 10 seconds it is bob's turn"


def test_shares_are_device_seconds_and_not_requests() -> None:
    ann = [waiting("ann", seconds=40, at=0) for _ in range(5)]
    bob = [waiting("bob", seconds=10, at=0.5) for _ in range(20)]
    server = Server(Line.of([*ann, *bob]))
    server.run(until=lambda: server.now >= 200)
    given = {who: sum(c.waiting.seconds for _, c in server.served if c.waiting.owner == who) for who in ("ann", "bob")}
    assert abs(given["ann"] - given["bob"]) <= 40, "one request of the longer kind"


def test_who_was_away_has_saved_nothing() -> None:
    turns = Turns({"ann": 500.0, "bob": 3.0}, level=480.0)
    assert (turns.account("bob"), turns.account("new")) == (480, 480)
    turns.charge("bob", 7)
    turns.rise(["ann", "bob"])
    assert turns.level == 487
    turns.rise([])
    turns.rise(["new"])
    assert turns.level == 487, "it never falls"


def test_a_promoted_request_is_before_everybody_and_the_earliest_promoted_first() -> None:
    now, night = waiting("ann", at=0), waiting("bob", "z", at=5, overnight=True, promoted_at=8)
    later = waiting("eve", "z", at=1, promoted_at=9)
    assert served(now, later, night) == [night, later, now]


def test_the_night_waits_for_everybody_of_now() -> None:
    night, now = waiting("ann", at=0, overnight=True), waiting("bob", "z", at=50)
    assert served(night, now) == [now, night], "also when now has to be loaded"


def test_a_loaded_checkpoint_is_preferred_until_the_device_has_drawn_enough() -> None:
    cold = waiting("ann", "b", at=0)
    warm = [waiting(f"p{n}", "a", at=1 + n) for n in range(9)]
    order = served(cold, *warm)
    assert order.index(cold) == 6, "6 times 5 seconds are 3 times the 10 of loading"


def test_nothing_is_gained_by_waiting_where_loading_costs_nothing() -> None:
    cold, warm = waiting("ann", "b", at=0), waiting("bob", "a", at=1)
    assert served(cold, warm, load=0.0) == [cold, warm]


def test_without_anything_loaded_the_order_is_fair() -> None:
    first, second = waiting("ann", "b", at=0), waiting("bob", "c", at=1)
    assert served(second, first) == [first, second]


def test_nobody_is_passed_over_for_longer_than_the_bound() -> None:
    cold = waiting("ann", "b", at=0)
    warm = [waiting(f"p{n}", "a", at=1, seconds=20) for n in range(200)]
    server = Server(Line.of([cold, *warm]), load=1000)
    server.run()
    assert 300 <= server.began(cold) - 1000 <= 300 + 20


def test_the_swap_is_charged_once_to_who_causes_it() -> None:
    ann, bob = waiting("ann", "b", at=0), waiting("bob", "b", at=1)
    server = Server(Line.of([ann, bob]))
    server.run()
    assert server.turns.accounts == {"ann": 15, "bob": 5}
    assert server.swaps == 1


def test_only_checkpoints_that_are_there_are_served() -> None:
    absent, here = waiting("ann", "b", at=0), waiting("bob", "a", at=1)
    line = Line.of([absent, here, waiting("eve", "b", promoted_at=1)])
    device = DeviceNow("one", frozenset("ab"), present=frozenset("a"), drawn=0, credit=1)
    server = Server(line, device=device)
    assert server.run() == [here]


def test_nobody_waits_for_a_device_that_has_other_weights_of_that_name_loaded() -> None:
    one, old = waiting("ann", "b"), DeviceNow("two", frozenset("b"), present=frozenset("a"))
    choice = Chooser(Line.of([one]), Turns(), DeviceNow("one", frozenset("a")), lambda _: 10.0, RULES, [old]).choose()
    assert choice is not None
    assert choice.waiting == one


@pytest.mark.parametrize(("free_in", "waits"), [(5.0, True), (15.0, False)])
def test_a_request_waits_for_a_device_that_has_it_loaded_if_that_is_sooner(free_in: float, waits: bool) -> None:
    one = waiting("ann", "b")
    other = DeviceNow("two", frozenset("b"), free_in=free_in)
    chooser = Chooser(Line.of([one]), Turns(), DeviceNow("one", frozenset("a")), lambda _: 10.0, RULES, [other])
    choice = chooser.choose()
    assert (choice is None) == waits


def test_those_who_wait_for_another_device_are_counted_there() -> None:
    first, second = waiting("ann", "b", at=0, seconds=8), waiting("bob", "b", at=1, seconds=8)
    third = waiting("eve", "b", at=2)
    other = DeviceNow("two", frozenset("b"), free_in=1)
    chooser = Chooser(
        Line.of([first, second, third]), Turns(), DeviceNow("one", frozenset("a")), lambda _: 10.0, RULES, [other]
    )
    choice = chooser.choose()
    assert choice is not None
    assert choice.waiting == third, "it would wait for 17 seconds there"


def test_the_order_of_asking_has_its_share_whatever_the_turns() -> None:
    flood = [waiting("heavy", seconds=10, at=n / 1000) for n in range(30)]
    others = [waiting(f"p{n}", seconds=10, at=1) for n in range(60)]
    server = Server(Line.of([*flood, *others]), rules=Rules(quantum=10, in_order=0.75, credit_most=300))
    server.run()
    assert 300 < server.began(flood[-1]) <= 300 / 0.75 + 20, "first in, first out would begin it after 290 seconds"
    assert sum(server.began(one) < 300 for one in others) >= 6, "and a quarter goes by turns"


def test_credit_is_saved_where_nobody_is_overtaken() -> None:
    flood = [waiting("heavy", seconds=10, at=n / 1000) for n in range(60)]
    light = [waiting("light", seconds=10, at=300 + 30 * n) for n in range(6)]
    server = Server(Line(), rules=Rules(quantum=10, in_order=0.75, credit_most=300))
    server.run([*flood, *light])
    assert max(server.began(one) - one.asked_at for one in light) <= 20
