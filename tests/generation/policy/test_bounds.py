"""What the policy promises whatever comes: nobody starves, shares are even, swaps are bounded, the night gives way.

Days are made up at random, by seeds, so that a day that breaks a promise can be looked at again.
"""

from random import Random

import pytest

from generation.policy.choice import Rules
from generation.policy.line import Line, Waiting
from tests.generation.policy.lines import Server, waiting

SEEDS = range(12)
LOAD = 10.0


def a_day(seed: int, *, people: int = 8, requests: int = 150, apart: float = 6.0) -> list[Waiting]:
    """Requests of different length for three checkpoints; about as much as one device can draw."""
    chance, at, made = Random(seed), 0.0, []
    for _ in range(requests):
        at += chance.expovariate(1 / apart)
        owner = f"p{min(int(chance.expovariate(0.5)), people - 1)}"
        made.append(waiting(owner, chance.choice("aaabbc"), seconds=chance.choice([1, 2, 5, 20]), at=at))
    return made


@pytest.mark.parametrize("seed", SEEDS)
def test_everybody_is_served_once_and_the_device_never_idles_while_somebody_waits(seed: int) -> None:
    day = a_day(seed)
    server = Server(Line(), load=LOAD)
    order = server.run(day)
    assert sorted(one.id for one in order) == sorted(one.id for one in day)
    ends = [(at, at + choice.waiting.seconds, choice) for at, choice in server.served]
    for (_, end, _), (begin, _, choice) in zip(ends, ends[1:], strict=False):
        assert begin <= max(end, choice.waiting.asked_at) + choice.loads + 1e-6


@pytest.mark.parametrize("seed", SEEDS)
def test_nobody_waits_for_a_swap_beyond_the_bounds(seed: int) -> None:
    rules = Rules(quantum=10, stay=1000, longest_passed=120, in_order=0)
    server = Server(Line(), load=LOAD, rules=rules)
    server.run(a_day(seed, apart=3))
    passed = dict[object, float]()
    for _, choice in server.served:
        for one in choice.passed:
            passed[one.id] = passed.get(one.id, 0) + choice.charge
    assert 60 < max(passed.values()) <= 120 + 20, "one of 20 seconds may have begun just before"


@pytest.mark.parametrize("seed", SEEDS)
def test_people_who_always_wait_get_even_shares(seed: int) -> None:
    chance = Random(seed)
    sizes = {"ann": 1, "bob": 4, "eve": 20}
    line = Line.of(
        waiting(who, chance.choice("ab"), seconds=size, at=chance.random())
        for who, size in sizes.items()
        for _ in range(2000 // size)
    )
    server = Server(line, load=LOAD)
    server.run(until=lambda: server.now > 3000)
    given = dict.fromkeys(sizes, 0.0)
    for _, choice in server.served:
        given[choice.waiting.owner] += choice.charge  # type: ignore[index]
    # What may be between two people: a quantum, one request, one swap, and a stay of 3 loads that one may miss.
    assert max(given.values()) - min(given.values()) <= 10 + 20 + LOAD + 2 * 3 * LOAD


@pytest.mark.parametrize("seed", SEEDS)
def test_one_request_of_a_light_user_is_not_behind_a_flood(seed: int) -> None:
    chance = Random(seed)
    flood = [waiting("heavy", seconds=5, at=0) for _ in range(200)]
    light = [waiting(f"light{n}", seconds=5, at=chance.uniform(1, 900)) for n in range(5)]
    server = Server(Line(), load=LOAD)
    server.run([*flood, *light])
    assert max(server.began(one) - one.asked_at for one in light) <= 5 + 10 + 5 * len(light)


@pytest.mark.parametrize("seed", SEEDS)
def test_swaps_cost_a_bounded_share_of_the_device(seed: int) -> None:
    chance = Random(seed)
    line = Line.of(waiting(f"p{n % 20}", chance.choice("abcd"), seconds=2, at=chance.random()) for n in range(600))
    server = Server(line, load=LOAD)
    server.run(until=lambda: server.now > 1000)
    loading = sum(choice.loads for _, choice in server.served)
    assert 0 < loading <= 0.3 * server.now, "it draws three times as long as it loads, while there is enough to draw"


@pytest.mark.parametrize("seed", SEEDS)
def test_no_request_of_the_night_begins_while_one_of_now_waits(seed: int) -> None:
    day = a_day(seed)
    night = [waiting(f"n{n % 3}", "abc"[n % 3], seconds=7, at=n, overnight=True) for n in range(60)]
    server = Server(Line(), load=LOAD)
    server.run([*day, *night])
    begun = {choice.waiting.id: at - choice.loads for at, choice in server.served}
    for one in night:
        late = [other for other in day if other.asked_at < begun[one.id] < begun[other.id]]
        assert late == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_restart_changes_nobodys_turn(seed: int) -> None:
    day = [waiting(f"p{n % 4}", seconds=3 + n % 5, at=n / 10) for n in range(60)]
    whole = [one.id for one in Server(Line.of(day)).run()]
    first = Server(Line.of(day))
    done = [one.id for one in first.run(until=lambda: len(first.served) == Random(seed).randrange(1, 59))]
    rest = Server(first.line, turns=first.turns, now=first.now)
    assert done + [one.id for one in rest.run()] == whole
