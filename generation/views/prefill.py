"""What the studio's form starts with: the last choice, a remix, a picture to start from, an example."""

import uuid
from typing import Any

from django.http import Http404, QueryDict

from accounts.models import User
from core.models import parse_key
from generation.engines.params import with_a_picture
from generation.models import Checkpoint, GenerationRequest, Image, Project
from generation.services.projects import project_personal

GONE = "The picture it started from is not there any more. Choose another one, or draw from the words alone."
STALE = "This picture is in the trash or gone, so nothing can start from it. Restore it, or choose another one."
FOREIGN = "The picture it started from was handed in by somebody else, who alone sees it. Choose another one."
RECIPE = (
    *("prompt", "checkpoint", "negative_prompt", "seed"),
    *("steps", "guidance", "temperature", "strength", "scheduler"),
)


def prefill(user: User, query: QueryDict) -> dict[str, Any]:
    """Initial values; `source_words` is what to say when the source turns out not to be there.

    Raises Http404 for a picture, request or project that `user` may not see.
    """
    initial = {"count": 1, **_last_choice(user)}
    if prompt := query.get("prompt"):
        initial["prompt"] = prompt.replace("\0", "")
    if again := query.get("again"):
        initial |= _again(user, _key(again))
    if remix := query.get("remix"):
        initial |= _remix(user, _key(remix))
    if source := query.get("source"):
        initial |= _source(_image(user, _key(source)), initial.get("checkpoint"))
    if project := query.get("project"):
        initial["project"] = _project(user, _key(project))
    return initial


def _last_choice(user: User) -> dict[str, Any]:
    personal = project_personal(user)
    mine = GenerationRequest.objects.visible_to(user).exclude(capability="describe")  # which is asked without choosing
    last = mine.select_related("checkpoint").first()
    if last is None:
        return {"project": personal.pk}
    return {"project": last.project_id, "checkpoint": last.checkpoint.name, "size": _size(last.params)}


def _again(user: User, pk: uuid.UUID) -> dict[str, Any]:
    request = GenerationRequest.objects.visible_to(user).filter(pk=pk).select_related("checkpoint").first()
    if request is None:
        raise Http404
    values = {"prompt": request.prompt, "checkpoint": request.checkpoint.name, "project": request.project_id}
    wish = {name: value for name, value in request.params.items() if value is not None}
    source = {"source_image": request.source_image_id, "source_upload": request.source_upload_id}
    words = GONE if request.starts_from_picture else ""
    if request.capability == "describe":  # its numbers mean nothing, and its question asks for no picture
        return source | {"source_words": words}
    return wish | values | source | {"size": _size(request.params), "source_words": words}


def _remix(user: User, pk: uuid.UUID) -> dict[str, Any]:
    image = _image(user, pk)
    recipe = image.recipe
    values = {name: recipe[name] for name in RECIPE if recipe.get(name) is not None}
    values = {"prompt": image.prompt, "seed": image.seed, **values, "count": 1}
    values |= {"checkpoint": image.checkpoint_name, "size": f"{image.width}x{image.height}"}
    if Project.objects.drawable_by(user).filter(pk=image.project_id).exists():
        values["project"] = image.project_id
    return values if image.request is None else values | _source_of(image.request, user)


def _source_of(request: GenerationRequest, user: User) -> dict[str, Any]:
    """What it started from, if `user` may use that."""
    if request.source_upload_id is not None:
        own = request.owner_id == user.pk
        return {"source_upload": request.source_upload_id, "source_words": GONE} if own else {"source_words": FOREIGN}
    if not request.starts_from_picture:
        return {}
    key = request.source_image_id
    seen = None if key is None else Image.objects.readable_by(user).filter(pk=key).first()
    return {"source_image": seen and seen.pk, "source_words": GONE}


def _source(image: Image, chosen: object) -> dict[str, Any]:
    """The picture, and a checkpoint that can use it when the chosen one cannot."""
    checkpoints = Checkpoint.objects.filter(enabled=True).order_by("-is_starter", "name")
    able = [one.name for one in checkpoints if with_a_picture(one.capabilities) in one.capabilities]
    name = chosen if chosen in able or not able else able[0]
    return {"source_image": image.pk, "source_upload": None, "checkpoint": name, "source_words": STALE}


def _image(user: User, pk: uuid.UUID) -> Image:
    image = Image.objects.readable_by(user).select_related("request").filter(pk=pk).first()
    if image is None:
        raise Http404
    return image


def _project(user: User, pk: uuid.UUID) -> uuid.UUID:
    if not Project.objects.drawable_by(user).filter(pk=pk).exists():
        raise Http404
    return pk


def _size(params: dict[str, Any]) -> str:
    return f"{params.get('width')}x{params.get('height')}"


def _key(value: str) -> uuid.UUID:
    key = parse_key(value)
    if key is None:
        raise Http404
    return key
