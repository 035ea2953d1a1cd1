"""The pictures of a project: grid, one picture, the trash. Paged by keyset, so a new picture never shifts a page."""

import datetime
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from accounts.models import User
from core.errors import NotAllowedError
from core.models import parse_key
from generation import permissions
from generation.amounts import cost_words, seconds_words
from generation.models import Checkpoint, GenerationRequest, Image, Membership, Project, UsageEntry
from generation.models.image import ImageQuerySet
from generation.services import trash as trash_service
from generation.services.checkpoints import checkpoint_that_describes
from generation.services.downloads import recipe_leaves
from generation.services.signing import signing_wanted
from generation.views import PersonRequest

PAGE_SIZE = 48
WORDS_MAX = 10
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
MICROSECOND = datetime.timedelta(microseconds=1)
BEGAN = {"image_to_image": "a picture that was handed in", "edit": "a picture, changed by this instruction"}
SPARED = {
    "sliced": "spared by slicing",
    "tiled": "spared by slicing and tiling",
    "single": "spared by drawing one at a time",
    "components": "spared by keeping only the part that works on the device",
    "sequential": "spared layer by layer",
}
EDITORS = frozenset({Membership.Role.EDITOR, Membership.Role.MANAGER})


@dataclass(frozen=True, slots=True)
class Search:
    """What the person looks for: words of the prompt and a checkpoint. Goes along in every link as `query`."""

    words: str
    checkpoint: str

    @classmethod
    def read(cls, values: QueryDict) -> "Search":
        """From the address. NUL is dropped because databases refuse it."""
        words, checkpoint = (values.get(name, "").replace("\0", "").strip() for name in ("q", "checkpoint"))
        return cls(words[:200], checkpoint[:80])

    @property
    def query(self) -> str:
        """q=cat&checkpoint=starter, without what is empty."""
        return urlencode({name: value for name, value in (("q", self.words), ("checkpoint", self.checkpoint)) if value})

    def apply(self, images: ImageQuerySet) -> ImageQuerySet:
        """Those with all the words and of the checkpoint."""
        for word in self.words.split()[:WORDS_MAX]:
            images = images.filter(prompt__icontains=word)
        return images.filter(checkpoint_name=self.checkpoint) if self.checkpoint else images


@require_safe
@login_required
def gallery(request: PersonRequest, pk: uuid.UUID) -> HttpResponse:
    """The grid, newest first."""
    project, role = _project(request, pk)
    search = Search.read(request.GET)
    images, following = _page(search.apply(_images(project).kept()), "created_at", request.GET.get("before", ""))
    context = {
        "project": project,
        "may_edit": role in EDITORS,
        "search": search,
        "images": images,
        "before": following,
        "checkpoints": Checkpoint.objects.values_list("name", "title"),  # all: which drew here would be a scan
        "undo": _undo(project, request.GET.get("undo", "")) if role in EDITORS else None,
    }
    return render(request, "generation/gallery.html", context)


@require_safe
@login_required
def trash(request: PersonRequest, pk: uuid.UUID) -> HttpResponse:
    """What was deleted, and for how long it can come back."""
    project, role = _project(request, pk)
    if role not in EDITORS:
        raise PermissionDenied("Only editors and managers of this project see its trash.")
    images, following = _page(_images(project).trashed(), "trashed_at", request.GET.get("before", ""))
    left = [(image, trash_service.days_left(image)) for image in images]
    context = {"project": project, "images": left, "before": following, "trash_days": settings.TRASH_DAYS}
    return render(request, "generation/gallery_trash.html", context)


@require_safe
@login_required
def detail(request: PersonRequest, pk: uuid.UUID) -> HttpResponse:
    """One picture, large, with everything needed to draw it again."""
    image, role = _image(request, pk)
    search = Search.read(request.GET)
    newer, older = _neighbours(image, search) if image.trashed_at is None else (None, None)
    context = {
        "image": image,
        "project": image.project,
        "may_edit": role in EDITORS,
        "days_left": trash_service.days_left(image),
        "checkpoint": Checkpoint.objects.filter(name=image.checkpoint_name).first(),
        "facts": _facts(image),
        "newer": newer,
        "older": older,
        "search": search,
        "can_describe": checkpoint_that_describes() is not None,
        "description": _description(image, request.user),
        "recipe_leaves": recipe_leaves(image=image, user=request.user),
        "recipe_choice": recipe_leaves(image=image, user=request.user, wanted=True),
        "signed": signing_wanted(),
    }
    return render(request, "generation/image_detail.html", context)


@require_POST
@login_required
def image_trash(request: PersonRequest, pk: uuid.UUID) -> HttpResponse:
    """To the trash. From the grid (htmx) the card goes and a toast with Undo comes; else back to the gallery."""
    image, _ = _image(request, pk)
    try:
        trash_service.image_trash(image=image, user=request.user)
    except NotAllowedError as error:
        raise PermissionDenied(str(error)) from error
    if request.htmx:
        return render(request, "generation/image_trashed.html", {"image": image})
    query = urlencode({"undo": str(image.pk)})
    return redirect(f"{reverse('project_gallery', args=[image.project_id])}?{query}")


@require_POST
@login_required
def image_restore(request: PersonRequest, pk: uuid.UUID) -> HttpResponse:
    """Back from the trash. From a toast in the grid (htmx) the card comes back to its place."""
    image, _ = _image(request, pk)
    try:
        trash_service.image_restore(image=image, user=request.user)
    except NotAllowedError as error:
        raise PermissionDenied(str(error)) from error
    if request.htmx:
        return render(request, "generation/image_restored.html", {"image": image, "may_edit": True})
    if request.POST.get("back") == "trash":
        return redirect("project_trash", pk=image.project_id)
    return redirect("image_detail", pk=image.pk)


def _project(request: PersonRequest, pk: uuid.UUID) -> tuple[Project, str | None]:
    project = get_object_or_404(Project.objects.visible_to(request.user).select_related("owner"), pk=pk)
    return project, permissions.role_in(request.user, project)


def _image(request: PersonRequest, pk: uuid.UUID) -> tuple[Image, str | None]:
    images = Image.objects.readable_by(request.user).select_related("project", "owner", "request")
    image = get_object_or_404(images, pk=pk)
    return image, permissions.role_in(request.user, image.project)


def _images(project: Project) -> ImageQuerySet:
    return Image.objects.filter(project=project)


def _page(images: ImageQuerySet, field: str, cursor: str) -> tuple[list[Image], str]:
    """One page after `cursor`, and the cursor of the next page ("" at the end). A broken cursor is the start."""
    try:
        micros, key = cursor.split("-", 1)
        moment, last = EPOCH + int(micros) * MICROSECOND, uuid.UUID(key)
    except (ValueError, OverflowError):
        pass
    else:
        later = Q(**{f"{field}__lt": moment}) | Q(pk__lt=last)
        images = images.filter(later, **{f"{field}__lte": moment})  # the second condition lets the index seek
    found = list(images.order_by(f"-{field}", "-pk")[: PAGE_SIZE + 1])
    if len(found) <= PAGE_SIZE:
        return found, ""
    end = found[PAGE_SIZE - 1]
    return found[:PAGE_SIZE], f"{(getattr(end, field) - EPOCH) // MICROSECOND}-{end.pk.hex}"


def _neighbours(image: Image, search: Search) -> tuple[Image | None, Image | None]:
    """The newer and the older picture beside this one, in the order of the grid."""
    others = search.apply(_images(image.project).kept()).exclude(pk=image.pk)
    moment = image.created_at
    newer = others.filter(Q(created_at__gt=moment) | Q(pk__gt=image.pk), created_at__gte=moment)
    older = others.filter(Q(created_at__lt=moment) | Q(pk__lt=image.pk), created_at__lte=moment)
    return newer.order_by("created_at", "pk").first(), older.order_by("-created_at", "-pk").first()


def _undo(project: Project, key: str) -> Image | None:
    """The picture that the last page moved to the trash, if it is still there."""
    found = parse_key(key)
    return _images(project).trashed().filter(pk=found).first() if found else None


def _description(image: Image, user: User) -> GenerationRequest | None:
    """The newest that the person was told about it. What others were told is theirs."""
    asked = GenerationRequest.objects.visible_to(user).filter(source_image=image, capability="describe")
    return asked.filter(state=GenerationRequest.State.COMPLETED).exclude(answer="").first()


def _facts(image: Image) -> list[tuple[str, Any]]:
    """The rest of the recipe as label and value, in the order in which people ask."""
    labels = {
        "negative_prompt": "Without",
        "steps": "Steps",
        "guidance": "Guidance",
        "temperature": "Temperature",
        "strength": "Strength",
        "scheduler": "Scheduler",
    }
    began = BEGAN.get(str(image.recipe.get("capability")))
    facts: list[tuple[str, Any]] = [("Began as", began)] if began else []
    facts += [(label, image.recipe[key]) for key, label in labels.items() if image.recipe.get(key) not in (None, "")]
    figures = image.request.figures if image.request else {}
    if image.request and (seconds := figures.get("total_seconds")):
        count = image.request.param("count", 1)
        facts.append(("Time taken", f"{seconds:.1f} s" + (f" for all {count}" if count > 1 else "")))
    return facts + _charged(image) + _circumstances(image, figures)


def _charged(image: Image) -> list[tuple[str, Any]]:
    """What it cost; of several pictures drawn together its part."""
    end = image.request and image.request.usage.filter(kind=UsageEntry.Kind.SETTLE).first()
    if not end:
        return []
    count = max(end.pictures, 1)
    together = f"; {seconds_words(end.cost.seconds)} for all {count}" if count > 1 else ""
    return [("Cost", cost_words(end.cost.shared(count)) + together)]


def _circumstances(image: Image, figures: dict[str, Any]) -> list[tuple[str, Any]]:
    """On what, in which numbers and how sparing of memory it was drawn."""
    device, precision = figures.get("device"), image.recipe.get("precision")
    told = [("Drawn on", device)] if device else []
    told += [("Precision", precision)] if precision else []
    spared = SPARED.get(str(image.recipe.get("memory")))
    return told + ([("Memory", spared)] if spared else [])
