"""Submit, cancel, retry: what is accepted, what is refused and with which words."""

from pathlib import Path
from typing import Any

import pytest
from django_q.models import OrmQ

from accounts.models import User
from core.errors import TesseraError
from generation import storage
from generation.models import Checkpoint, GenerationRequest, Image, Project, Upload
from generation.payloads import request_payload
from generation.scheduler import claim_next
from generation.services.devices import device_ensure
from generation.services.requests import request_cancel, request_retry, request_submit, requests_refuse
from generation.services.transitions import request_give_back
from tests.generation import pictures
from tests.generation.queue import lease, make_checkpoint, submit, wish

State = GenerationRequest.State


@pytest.fixture
def tiny(db: None) -> Checkpoint:
    """A checkpoint that draws 32x32 and 64x32."""
    return make_checkpoint()


def make_upload(owner: User) -> Upload:
    """A picture that was handed in, file and row."""
    storage.write_atomic(storage.path("uploads/a.png"), b"png")
    return Upload.objects.create(owner=owner, file="uploads/a.png", sha256="0", width=32, height=32, size_bytes=3)


def test_a_wish_becomes_a_queued_request(alice: User, project: Project, tiny: Checkpoint) -> None:
    request = submit(alice, project, tiny, prompt="  a cat ", seed=None, guidance="2.5", steps="")
    request.refresh_from_db()
    assert (request.state, request.prompt, request.capability) == ("queued", "a cat", "text_to_image")
    assert 0 <= request.params["seed"] < 2**31
    assert request.params["guidance"] == 2.5
    assert request.params["steps"] is None


def test_a_checkpoint_may_be_named(alice: User, project: Project, tiny: Checkpoint) -> None:
    assert request_submit(user=alice, project=project, checkpoint="tiny", params=wish()).checkpoint == tiny


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"prompt": " \n\t "}, "prompt_empty", "empty"),
        ({"prompt": "a" * 4001}, "prompt_too_long", "4,001"),
        ({"negative_prompt": "a" * 4001}, "prompt_too_long", "negative prompt"),
        ({"width": 48}, "size_not_drawable", "32x32, 64x32"),
        ({"width": None}, "invalid_params", "width is missing"),
        ({"width": 99999}, "invalid_params", "width"),
        ({"width": "wide"}, "invalid_params", "whole number"),
        ({"count": 0}, "invalid_params", "1 to 4"),
        ({"count": 5}, "invalid_params", "1 to 4"),
        ({"count": 1.5}, "invalid_params", "whole number"),
        ({"steps": 0}, "invalid_params", "steps"),
        ({"steps": 151}, "invalid_params", "steps"),
        ({"guidance": -1}, "invalid_params", "guidance"),
        ({"guidance": float("nan")}, "invalid_params", "number"),
        ({"guidance": 10**400}, "invalid_params", "number"),
        ({"temperature": 5.1}, "invalid_params", "temperature"),
        ({"strength": 0}, "invalid_params", "strength"),
        ({"seed": -1}, "invalid_params", "seed"),
        ({"seed": 2**63}, "invalid_params", "seed"),
    ],
)
def test_a_wrong_value_is_refused_with_words(
    alice: User, project: Project, tiny: Checkpoint, changes: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(TesseraError) as caught:
        submit(alice, project, tiny, **changes)
    assert caught.value.code == code
    assert words in str(caught.value)
    assert not GenerationRequest.objects.exists()


def test_text_that_no_database_takes_is_cleaned(alice: User, project: Project, tiny: Checkpoint) -> None:
    assert submit(alice, project, tiny, prompt="a\0cat \ud800").prompt == "acat ?"


def test_unknown_and_disabled_checkpoints_are_refused(alice: User, project: Project, tiny: Checkpoint) -> None:
    with pytest.raises(TesseraError, match="does not exist"):
        request_submit(user=alice, project=project, checkpoint="nobody", params=wish())
    Checkpoint.objects.update(enabled=False, disabled_reason="Its folder is gone.")
    with pytest.raises(TesseraError, match="Its folder is gone") as caught:
        submit(alice, project, tiny)
    assert caught.value.code == "checkpoint_disabled"


def test_drawing_needs_the_right_to_draw(
    alice: User, bob: User, charlie: User, team: Project, tiny: Checkpoint
) -> None:
    for person in (bob, charlie):
        with pytest.raises(TesseraError) as caught:
            submit(person, team, tiny)
        assert (caught.value.code, caught.value.status) == ("project_forbidden", 403)
    assert submit(alice, team, tiny).project == team


def test_who_was_deactivated_draws_nothing(alice: User, project: Project, tiny: Checkpoint) -> None:
    User.objects.update(is_active=False)
    with pytest.raises(TesseraError, match="not active"):
        submit(alice, project, tiny)


def test_a_person_waits_for_so_much_at_most(alice: User, project: Project, tiny: Checkpoint, settings: object) -> None:
    settings.MAX_QUEUED = 2  # type: ignore[attr-defined]
    first, _ = submit(alice, project, tiny), submit(alice, project, tiny)
    with pytest.raises(TesseraError, match="2 is the most"):
        submit(alice, project, tiny)
    request_cancel(request=first)
    submit(alice, project, tiny)


def test_a_picture_to_start_from_needs_a_checkpoint_that_can(alice: User, project: Project, tiny: Checkpoint) -> None:
    upload = make_upload(alice)
    with pytest.raises(TesseraError, match="cannot start from a picture"):
        request_submit(user=alice, project=project, checkpoint=tiny, params=wish(), source_upload=upload)
    able = make_checkpoint("able", capabilities=["text_to_image", "image_to_image"])
    request = request_submit(user=alice, project=project, checkpoint=able, params=wish(), source_upload=upload)
    assert request.capability == "image_to_image"


def test_a_picture_of_somebody_else_is_as_good_as_gone(
    alice: User, charlie: User, project: Project, stage: Path
) -> None:
    able = make_checkpoint("able", capabilities=["text_to_image", "image_to_image"])
    upload = make_upload(charlie)
    theirs = Project.objects.create(owner=charlie, name="Personal", kind=Project.Kind.PERSONAL)
    image = Image.objects.create(
        project=theirs, owner=charlie, prompt="x", seed=1, width=32, height=32, file=upload.file, size_bytes=3
    )
    for source in ({"source_upload": upload}, {"source_image": image}):
        with pytest.raises(TesseraError) as caught:
            request_submit(user=alice, project=project, checkpoint=able, params=wish(), **source)  # type: ignore[arg-type]
        assert caught.value.code == "source_missing"
    own = make_upload(alice)
    storage.path(own.file).unlink()
    with pytest.raises(TesseraError, match="not there any more"):
        request_submit(user=alice, project=project, checkpoint=able, params=wish(), source_upload=own)


def test_what_was_accepted_is_what_is_stored(alice: User, charlie: User, project: Project, stage: Path) -> None:
    able = make_checkpoint("able", capabilities=["text_to_image", "image_to_image"])
    theirs = Project.objects.create(owner=charlie, name="Personal", kind=Project.Kind.PERSONAL)
    own, image = make_upload(alice), pictures.image(project=theirs)
    made = request_submit(
        user=alice, project=project, checkpoint=able, params=wish(), source_image=image, source_upload=own
    )
    assert (made.source_image, made.source_upload) == (None, own)


def test_every_claim_is_another_run_also_when_no_attempt_is_counted(
    alice: User, project: Project, tiny: Checkpoint
) -> None:
    submit(alice, project, tiny)
    seen = []
    for _ in range(3):
        claimed = claim_next(device_ensure(), [])
        assert claimed is not None
        seen.append((claimed.attempt, claimed.run, request_payload(claimed)["run"]))
        request_give_back(request=claimed)
    assert seen == [(1, 1, 1), (1, 2, 2), (1, 3, 3)]


@pytest.mark.django_db(transaction=True)
def test_the_bell_rings_once_until_somebody_hears_it(alice: User, project: Project) -> None:
    tiny = make_checkpoint()
    submit(alice, project, tiny)
    submit(alice, project, tiny)
    (bell,) = OrmQ.objects.all()
    assert bell.task["func"] == "generation.tasks.drain"


def test_cancel_ends_a_queued_request_at_once(alice: User, project: Project, tiny: Checkpoint) -> None:
    request = submit(alice, project, tiny)
    assert request_cancel(request=request).state == State.CANCELED
    assert request.finished_at is not None
    assert request_cancel(request=request).state == State.CANCELED


@pytest.mark.parametrize("state", GenerationRequest.LEASED)
def test_cancel_asks_the_worker_of_a_claimed_one(alice: User, project: Project, tiny: Checkpoint, state: str) -> None:
    request = submit(alice, project, tiny)
    lease(request, state=state)
    version = request.version
    request_cancel(request=request)
    assert (request.state, request.version) == (state, version + 1)
    assert request.cancel_requested_at is not None
    asked = request.cancel_requested_at
    assert request_cancel(request=request).cancel_requested_at == asked


def test_retry_makes_a_new_request_with_the_same_wish(alice: User, project: Project, tiny: Checkpoint) -> None:
    request = submit(alice, project, tiny, guidance=2)
    with pytest.raises(TesseraError, match="failed or was canceled"):
        request_retry(request=request, user=alice)
    request_cancel(request=request)
    again = request_retry(request=request, user=alice)
    assert again.pk != request.pk
    assert (again.prompt, again.params, again.state) == (request.prompt, request.params, "queued")


def test_retry_needs_the_picture_it_started_from(alice: User, project: Project) -> None:
    able = make_checkpoint("able", capabilities=["text_to_image", "image_to_image"])
    upload = make_upload(alice)
    request = request_submit(user=alice, project=project, checkpoint=able, params=wish(), source_upload=upload)
    request_cancel(request=request)
    upload.delete()
    request.refresh_from_db()
    with pytest.raises(TesseraError, match="not there any more"):
        request_retry(request=request, user=alice)


def test_what_can_never_be_drawn_fails_with_a_reason(
    alice: User, charlie: User, project: Project, tiny: Checkpoint
) -> None:
    theirs = Project.objects.create(owner=charlie, name="Personal", kind=Project.Kind.PERSONAL)
    orphan, off, fine = (
        submit(charlie, theirs, tiny),
        submit(alice, project, make_checkpoint("off")),
        submit(alice, project, tiny),
    )
    User.objects.filter(pk=charlie.pk).update(is_active=False)
    Checkpoint.objects.filter(name="off").update(enabled=False, disabled_reason="It is corrupt.")
    assert requests_refuse() == 2
    for request in (orphan, off, fine):
        request.refresh_from_db()
    assert (orphan.state, orphan.error_code) == ("failed", "owner_inactive")
    assert (off.state, off.error_code) == ("failed", "checkpoint_disabled")
    assert "It is corrupt." in off.error_message
    assert fine.state == "queued"


def test_it_goes_into_a_lane_and_is_foretold(alice: User, project: Project, tiny: Checkpoint) -> None:
    Checkpoint.objects.update(seconds_per_picture=1.5)
    now, tonight = submit(alice, project, tiny, count=2), submit(alice, project, tiny, lane="overnight")
    assert (now.lane, now.predicted_seconds, now.promoted_at) == ("now", 3.0, None)
    assert (tonight.lane, request_retry(request=request_cancel(request=tonight), user=alice).lane) == ("overnight",) * 2
    assert list(GenerationRequest.objects.queued())[0] == now
