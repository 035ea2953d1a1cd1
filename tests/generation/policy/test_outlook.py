"""What is foretold is what happens: the queue played forward against the same queue served."""

from random import Random

import pytest

from generation.policy.choice import DeviceNow, Rules
from generation.policy.line import Line
from generation.policy.outlook import EXACT, Outlook
from generation.policy.turns import Turns
from tests.generation.policy.lines import Server, waiting

RULES = Rules(quantum=10, stay=3, longest_passed=10_000)
DEVICE = DeviceNow("one", frozenset(["a"]), drawn=0.0, credit=RULES.credit_first)


def a_queue(seed: int, many: int) -> list:  # type: ignore[type-arg]
    """Of five people, for three checkpoints, in both lanes."""
    chance = Random(seed)
    return [
        waiting(
            f"p{chance.randrange(5)}",
            chance.choice("aab"),
            seconds=chance.choice([1, 5, 20]),
            at=-chance.random() * 100,
            overnight=(overnight := chance.random() < 0.2),
            portions=chance.choice([1, 3]) if overnight else 1,
        )
        for _ in range(many)
    ]


@pytest.mark.parametrize("seed", range(8))
def test_places_and_times_are_those_of_the_replay(seed: int) -> None:
    queue = a_queue(seed, 60)
    server = Server(Line.of(queue), rules=RULES, device=DEVICE)
    order = list({one.id: one for one in server.run()}.values())
    told = Outlook(Line.of(queue), Turns(), [DEVICE], lambda _device, _name: server.load, RULES).play()
    assert sorted(told, key=lambda key: told[key].place) == [one.id for one in order]
    assert [told[one.id].place for one in order] == list(range(1, 61))
    for at, choice in server.served:
        if choice.waiting.portions == 1:
            found = told[choice.waiting.id]
            assert found.starts + found.loads == pytest.approx(at)
            assert found.loads == choice.loads


def test_behind_those_that_are_played_everybody_still_has_a_place_and_a_time() -> None:
    queue = a_queue(1, EXACT + 50)
    told = Outlook(Line.of(queue), Turns(), [DEVICE], lambda _device, _name: 10.0, RULES).play()
    assert sorted(served.place for served in told.values()) == list(range(1, EXACT + 51))
    by_place = sorted(told.values(), key=lambda served: served.place)
    assert all(a.starts <= b.starts for a, b in zip(by_place, by_place[1:], strict=False))


def test_two_devices_halve_the_wait() -> None:
    queue = [waiting("ann", seconds=10, at=n) for n in range(6)]
    both = [DEVICE, DeviceNow("two", frozenset(["a"]), drawn=0.0, free_in=4.0)]
    told = Outlook(Line.of(queue), Turns(), both, lambda _device, _name: 10.0, RULES).play()
    assert [told[one.id].starts for one in queue] == [0, 4, 10, 14, 20, 24]


def test_who_can_be_drawn_nowhere_is_told_nothing() -> None:
    here, nowhere = waiting("ann", "a"), waiting("bob", "z")
    device = DeviceNow("one", frozenset("a"), present=frozenset("a"), credit=1.0)
    told = Outlook(Line.of([here, nowhere]), Turns(), [device], lambda _device, _name: 10.0, RULES).play()
    assert set(told) == {here.id}


def test_the_times_of_what_gives_way_are_those_of_its_last_portion() -> None:
    night = waiting("ann", seconds=10, overnight=True, portions=3)
    told = Outlook(Line.of([night]), Turns(), [DEVICE], lambda _device, _name: 10.0, RULES).play()
    assert (told[night.id].place, told[night.id].starts) == (1, 20)
    behind = [waiting("bob", seconds=1, at=-1) for _ in range(EXACT)]
    told = Outlook(Line.of([night, *behind]), Turns(), [DEVICE], lambda _device, _name: 10.0, RULES).play()
    assert (told[night.id].place, told[night.id].starts) == (EXACT + 1, EXACT + 20)
