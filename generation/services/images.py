"""Pictures: from drawn bytes to a file and its row, and the sweeping of what nobody needs."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from django.utils import timezone

from generation import storage
from generation.engines.protocol import EncodedFragment
from generation.engines.provenance import source_type_of
from generation.engines.recipe import drawn_with, recipe_for
from generation.models import GenerationRequest, Image, ImageCodes, Upload
from generation.storage import StoredPicture

ORPHAN_SECONDS = 24 * 3600
UPLOAD_DAYS = 7

T = TypeVar("T")
Touch = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture of a request whose file is written and whose row is not."""

    index: int
    seed: int
    stored: StoredPicture
    recipe: dict[str, Any]
    codes: str = ""  # packed, where it was drawn of codes


def image_write(*, request: GenerationRequest, final: EncodedFragment) -> Drawn:
    """Write the file of one drawn picture, its recipe inside. Its row comes later, see request_complete."""
    recipe = {**recipe_of(request, final.seed), **drawn_with(final.precision, final.memory)}
    return Drawn(final.index, final.seed, storage.write_picture(final.data, recipe), recipe, final.codes)


def image_store(*, request: GenerationRequest, drawn: Drawn) -> Image:
    """The row of a picture whose file is written."""
    stored = drawn.stored
    image = Image.objects.create(
        id=stored.id,
        request=request,
        index=drawn.index,
        project_id=request.project_id,
        owner_id=request.owner_id,
        prompt=request.prompt,
        recipe=drawn.recipe,
        seed=drawn.seed,
        width=stored.width,
        height=stored.height,
        checkpoint_name=request.checkpoint.name,
        file=stored.file,
        sha256=stored.sha256,
        size_bytes=stored.size_bytes,
    )
    if drawn.codes:
        ImageCodes.objects.create(image=image, packed=drawn.codes)
    return image


def recipe_of(request: GenerationRequest, seed: int) -> dict[str, Any]:
    """Everything needed to draw this one picture again, the checkpoint's own defaults written out."""
    checkpoint = request.checkpoint
    recipe = recipe_for(
        checkpoint=checkpoint.name,
        family=checkpoint.family,
        defaults=checkpoint.defaults,
        wish={**request.params, "prompt": request.prompt, "capability": request.capability},
        seed=seed,
    )
    if request.source_image is not None:
        recipe["source_image"] = str(request.source_image_id)
        # A picture that machines made from the first is still one; where a handed-in picture began it, none is.
        recipe["digital_source_type"] = source_type_of(request.source_image.recipe)
    elif request.source_upload_id is not None:
        recipe["source_upload"] = str(request.source_upload_id)
    return recipe


def orphans_sweep(*, touch: Touch = lambda: None) -> int:
    """Remove files that never got a row (a crash between the two), drawn or handed in. Returns how many.

    `touch` is called for every file and row, as a sign of progress: this may take long.
    """
    drawn = set(_touching(storage.old_pictures(ORPHAN_SECONDS), touch))
    handed_in = set(_touching(storage.old_uploads(ORPHAN_SECONDS), touch))
    if drawn:
        drawn.difference_update(_touching(Image.objects.values_list("file", flat=True).iterator(), touch))
    if handed_in:
        handed_in.difference_update(_touching(Upload.objects.values_list("file", flat=True).iterator(), touch))
    for file in _touching(drawn, touch):
        storage.delete(file)
    for file in _touching(handed_in, touch):
        storage.delete_upload(file)
    return len(drawn) + len(handed_in)


def uploads_prune(*, touch: Touch = lambda: None) -> int:
    """Forget pictures that were handed in days ago and that no request waits for. Returns how many."""
    since = timezone.now() - timedelta(days=UPLOAD_DAYS)
    waiting = GenerationRequest.objects.open().filter(source_upload__isnull=False).values("source_upload")
    unused = Upload.objects.filter(created_at__lt=since).exclude(pk__in=waiting)
    files = list(unused.values_list("pk", "file"))
    for pk, file in _touching(files, touch):
        # Again with the condition, since a request may have come in between.
        if Upload.objects.filter(pk=pk).exclude(pk__in=waiting).delete()[0]:
            storage.delete_upload(file)
    return len(files)


def _touching(things: Iterable[T], touch: Touch) -> Iterator[T]:
    for thing in things:
        touch()
        yield thing
