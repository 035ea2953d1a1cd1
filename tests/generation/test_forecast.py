"""How long a drawing will take: from nothing, from an average, from requests that this installation finished."""

import pytest

from accounts.models import User
from generation.models import Pace, Project
from generation.policy.forecast import Sample, Shape, drawing, loading, quantile
from generation.services.devices import device_ensure
from generation.services.forecast import MOST_DRAWS, MOST_LOADS, pace_learn, predicted_seconds
from tests.generation.queue import make_checkpoint, submit

SMALL = Shape(512, 512, 20)


def test_the_quantile_is_the_least_value_that_covers_the_share() -> None:
    values = [(float(value), 1.0) for value in (5, 1, 4, 2, 3)]
    assert [quantile(values, share) for share in (0.2, 0.5, 0.9, 1.0)] == [1, 3, 5, 5]
    assert quantile([(1.0, 9.0), (7.0, 1.0)], 0.5) == 1


def test_nothing_is_foretold_from_nothing() -> None:
    assert drawing(SMALL, []) is None
    assert loading([]) is None


def test_the_same_shape_is_foretold_by_its_own_times() -> None:
    spread = drawing(SMALL, [Sample(SMALL, seconds) for seconds in (9.0, 10.0, 11.0) * 10])
    assert spread is not None
    assert spread.p50 == 10
    assert 11 <= spread.p90 <= 12


def test_one_drawing_makes_no_certainty() -> None:
    spread = drawing(SMALL, [Sample(SMALL, 10)])
    assert spread is not None
    assert (spread.p50, spread.p90) == (10, pytest.approx(15, rel=1e-3))


@pytest.mark.parametrize(
    ("shape", "times"), [(Shape(1024, 512, 20), 2), (Shape(512, 512, 60), 3), (Shape(512, 512, 20, count=4), 4)]
)
def test_another_shape_is_scaled_by_pixels_steps_and_pictures(shape: Shape, times: int) -> None:
    spread = drawing(shape, [Sample(SMALL, 10)] * 5)
    assert spread is not None
    assert spread.p50 == pytest.approx(10 * times)
    assert spread.p90 > 1.2 * spread.p50


def test_what_is_alike_counts_more() -> None:
    far = [Sample(Shape(64, 64, 4), 9.0)] * 20
    spread = drawing(SMALL, [*far, *[Sample(SMALL, 5)] * 2])
    assert spread is not None
    assert spread.p50 == 5


def test_a_device_that_became_quicker_is_believed_soon() -> None:
    spread = drawing(SMALL, [*[Sample(SMALL, 30)] * 64, *[Sample(SMALL, 3)] * 32])
    assert spread is not None
    assert spread.p50 == 3


def test_without_history_the_average_is_used_then_a_guess(alice: User) -> None:
    assert predicted_seconds(make_checkpoint(), {"width": 32, "height": 32, "count": 3}) == 30
    known = make_checkpoint("known", seconds_per_picture=1.5)
    assert predicted_seconds(known, {"width": 32, "height": 32, "count": 2}) == 3


def test_finished_requests_are_learnt_from(alice: User, project: Project) -> None:
    tiny = make_checkpoint()
    request = submit(alice, project, tiny, steps=8)
    request.device = device_ensure()
    for _ in range(MOST_DRAWS + 5):
        pace_learn(request=request, drawn=2.0, loaded=0)
    for seconds in range(1, MOST_LOADS + 3):
        pace_learn(request=request, drawn=0, loaded=seconds)
    pace = Pace.objects.get()
    assert (len(pace.draws), len(pace.loads), pace.loads[-1]) == (MOST_DRAWS, MOST_LOADS, MOST_LOADS + 2)
    assert predicted_seconds(tiny, request.params) == 2
    assert predicted_seconds(tiny, {**request.params, "count": 4, "steps": 16}) == 16
    assert predicted_seconds(tiny, {**request.params, "steps": None}) == 2, "8 are the checkpoint's own steps"
    assert predicted_seconds(make_checkpoint("other"), request.params) == 10
