"""A request as the card of a page shows it: its words, its places for pictures."""

import uuid
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from django.shortcuts import get_object_or_404

from accounts.models import User
from generation import payloads
from generation.models import GenerationRequest, Image, Project, Upload, UsageEntry
from generation.models.request import RequestQuerySet
from generation.models.usage import Cost
from generation.waits import Wait

State = GenerationRequest.State
PIXELATED_BELOW = 384
TEENS = range(11, 14)
ENDINGS = {1: "st", 2: "nd", 3: "rd"}
# The words are those of stream.js, the tones those of the badges.
KINDS = {
    "image_to_image": "from a picture",
    "edit": "edits a picture",
    "describe": "describes a picture",
}
WORDS = {
    State.QUEUED: ("Waiting", ""),
    State.LOADING: ("Loading", "busy"),
    State.RUNNING: ("Drawing", "busy"),
    State.SAVING: ("Saving", "busy"),
    State.COMPLETED: ("Done", "good"),
    State.FAILED: ("Failed", "bad"),
    State.CANCELED: ("Canceled", "warn"),
}


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one picture of the batch; empty until it is there."""

    index: int
    image: Image | None


@dataclass(frozen=True, slots=True)
class Card:
    """What the template of a request needs."""

    request: GenerationRequest
    slots: tuple[Slot, ...]
    words: str
    tone: str
    position: str
    has_project: bool
    """Whether the person is still in its project: else its pictures and its gallery are closed to them."""
    source: Image | Upload | None
    """The picture that is described, while the person may see it."""
    can_move: bool
    """Others of the same person wait before it in its lane."""

    @property
    def kind(self) -> str:
        """What it does beside drawing from words; the words of a badge."""
        return KINDS.get(self.request.capability, "")

    @property
    def describes(self) -> bool:
        """It is answered in words, not with pictures."""
        return self.request.capability == "describe"

    @property
    def source_is_mine(self) -> bool:
        """Handed in, not from a gallery."""
        return isinstance(self.source, Upload)

    @property
    def width(self) -> int:
        """Of the canvas."""
        return int(self.request.param("width", 1))

    @property
    def height(self) -> int:
        """Of the canvas."""
        return int(self.request.param("height", 1))

    @property
    def pixelated(self) -> bool:
        """Small pictures are enlarged without smoothing."""
        return max(self.width, self.height) < PIXELATED_BELOW

    @property
    def shape(self) -> str:
        """How it fits on the stage."""
        if self.width == self.height:
            return "square"
        return "wide" if self.width > self.height else "tall"

    @property
    def is_open(self) -> bool:
        """Whether pictures may still come."""
        return not self.request.is_final

    @property
    def percent(self) -> int:
        """How far it is, as card.js measures it."""
        row = self.request
        if row.steps:
            return round(100 * row.step / row.steps)
        return round(100 * row.kept / max(len(self.slots), 1))

    @property
    def first_image(self) -> Image | None:
        """For remixing."""
        return next((slot.image for slot in self.slots if slot.image is not None), None)

    @property
    def seconds(self) -> float | None:
        """From claim to end."""
        if self.request.started_at is None or self.request.finished_at is None:
            return None
        return (self.request.finished_at - self.request.started_at).total_seconds()

    @property
    def cost(self) -> Cost | None:
        """What it was charged, once it is over."""
        ends = [entry for entry in self.request.usage.all() if entry.kind != UsageEntry.Kind.RESERVE]
        return ends[0].cost if ends else None

    @property
    def can_retry(self) -> bool:
        """A new request with the same wish makes sense."""
        return self.has_project and self.request.state in {State.FAILED, State.CANCELED}


def with_pictures(requests: RequestQuerySet) -> RequestQuerySet:
    """Everything that cards show, in a fixed number of queries."""
    related = requests.select_related("checkpoint", "project", "source_image", "source_upload")
    return related.prefetch_related("images", "usage")


def card_of(
    requests: RequestQuerySet, pk: uuid.UUID, user: User, places: Mapping[uuid.UUID, Wait] | None = None
) -> Card:
    """The one of these. Raises Http404."""
    return cards([get_object_or_404(with_pictures(requests), pk=pk)], user, places)[0]


def cards(
    requests: Iterable[GenerationRequest], user: User, places: Mapping[uuid.UUID, Wait] | None = None
) -> list[Card]:
    """Cards of requests that belong to `user`. `places`: of those that wait, where they are known already."""
    found = list(requests)
    waiting = any(request.state == State.QUEUED for request in found)
    if places is None:
        places = payloads.waits_of(user) if waiting else {}
    wanted = {request.project_id for request in found}
    wanted |= {request.source_image.project_id for request in found if request.source_image}
    projects = Project.objects.visible_to(user).filter(pk__in=wanted)
    seen = set(projects.values_list("pk", flat=True)) if found else set()
    firsts = _firsts(user) if waiting else set()
    return [_card(request, places, seen, firsts) for request in found]


def wait_words(wait: Wait | None) -> str:
    """Place and waiting time, as card.js says it."""
    return ", ".join(filter(None, (position_words(wait.place), wait.words))) if wait else ""


def position_words(place: int | None) -> str:
    """1 -> "Next in the queue", 3 -> "3rd in the queue"."""
    if not place:
        return ""
    if place == 1:
        return "Next in the queue"
    ending = "th" if place % 100 in TEENS else ENDINGS.get(place % 10, "th")
    return f"{place}{ending} in the queue"


def _firsts(user: User) -> set[uuid.UUID]:
    """Those that wait before all others of the same person, in each lane."""
    own = GenerationRequest.objects.visible_to(user).queued().values_list("lane", "pk")
    return {pk for _, pk in {lane: (lane, pk) for lane, pk in reversed(own)}.values()}


def _card(
    request: GenerationRequest, places: Mapping[uuid.UUID, Wait], seen: Set[uuid.UUID], firsts: Set[uuid.UUID]
) -> Card:
    has_project = request.project_id in seen
    kept = [image for image in request.images.all() if image.trashed_at is None] if has_project else []
    images = {image.index: image for image in kept}
    count = 0 if request.capability == "describe" else int(request.param("count", 1))
    indexes = sorted(images) if request.is_final else range(count)
    drawn = images if request.is_final else {index: images[index] for index in images if index < request.kept}
    slots = tuple(Slot(index, drawn.get(index)) for index in indexes)
    words, tone = WORDS[State(request.state)]
    words = "Describing" if (words, request.capability) == ("Drawing", "describe") else words
    return Card(
        request,
        slots,
        words,
        tone,
        wait_words(places.get(request.pk)) if request.state == State.QUEUED else "",
        has_project,
        _described(request, seen),
        request.state == State.QUEUED and request.pk not in firsts,
    )


def _described(request: GenerationRequest, seen: Set[uuid.UUID]) -> Image | Upload | None:
    """An upload is the owner's own; a picture of a gallery may have been deleted, or the gallery closed to them."""
    if request.capability != "describe":
        return None
    image = request.source_image
    if image is not None and (image.trashed_at is not None or image.project_id not in seen):
        return None
    return image or request.source_upload
