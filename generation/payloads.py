"""Rows as the pages see them: typed payloads with URLs. Reads only."""

import uuid
from collections.abc import Mapping
from datetime import datetime

from django.urls import reverse

from accounts.models import User
from generation.events import ImagePayload, RequestPayload
from generation.models import Device, GenerationRequest, Image, Project
from generation.waits import Wait, waits_read

State = GenerationRequest.State


NEWS = (State.COMPLETED, State.FAILED)  # ends that their owner wants to hear of on any page


def milliseconds(moment: datetime) -> int:
    """Since 1970, as browsers count; rounded down, so that nothing later is taken for told."""
    return int(moment.timestamp() * 1000)


def request_payload(
    request: GenerationRequest, *, places: Mapping[uuid.UUID, Wait] | None = None, note: str = ""
) -> RequestPayload:
    """A request as the page needs it. Give `places` when several are made at once."""
    payload = RequestPayload(
        id=str(request.pk),
        state=request.state,
        version=request.version,
        run=request.run,
        prompt=request.prompt,
        checkpoint=request.checkpoint.title,
        width=request.param("width", 0),
        height=request.param("height", 0),
        count=request.param("count", 1),
        step=request.step,
        steps=request.steps,
    )
    if request.state == State.QUEUED:
        place = (all_places() if places is None else places).get(request.pk)
        if place is not None:
            payload["position"], payload["wait"] = place.place, place.words
    if request.kept and not request.is_final:
        payload["kept"] = request.kept
    if request.state == State.COMPLETED or "kept" in payload:
        payload["images"] = [image_payload(image) for image in _images(request)]
    if request.error_message:
        payload["error"] = {
            "code": request.error_code,
            "message": request.error_message,
            "hint": request.error_hint,
        }
    if request.answer:
        payload["answer"] = request.answer
    if note:
        payload["note"] = note
    return payload


def image_payload(image: Image) -> ImagePayload:
    """A finished picture as the page needs it."""
    return ImagePayload(
        id=str(image.pk),
        index=image.index,
        url=reverse("image_picture", args=[image.pk]),
        thumb=reverse("image_thumb", args=[image.pk]),
        page=reverse("image_detail", args=[image.pk]),
        width=image.width,
        height=image.height,
    )


def open_requests(user: User, places: Mapping[uuid.UUID, Wait]) -> list[RequestPayload]:
    """What `user` waits for, oldest first."""
    requests = GenerationRequest.objects.visible_to(user).open().select_related("checkpoint").order_by("created_at")
    return [request_payload(request, places=places) for request in requests]


def positions(user: User) -> dict[uuid.UUID, int]:
    """The places in the queue of the user's own requests; 1 is next."""
    return {pk: wait.place for pk, wait in waits_of(user).items()}


def waits_of(user: User) -> dict[uuid.UUID, Wait]:
    """Place and waiting time of the user's own requests."""
    return waits_read(GenerationRequest.objects.visible_to(user).queued())


def all_places() -> dict[uuid.UUID, Wait]:
    """The places of everybody and how long they wait, by the policy of the scheduler."""
    return waits_read()


def drawing_paused() -> bool:
    """Whether operators have paused all there is to draw on."""
    paused = list(Device.objects.values_list("paused", flat=True))
    return bool(paused) and all(paused)


def _images(request: GenerationRequest) -> list[Image]:
    # Who was removed from the project sees its pictures no longer, also the own ones.
    if not Project.objects.visible_to(request.owner).filter(pk=request.project_id).exists():
        return []
    # Filtered here and not in SQL, so that a list page can prefetch.
    return sorted((image for image in request.images.all() if image.trashed_at is None), key=lambda image: image.index)
