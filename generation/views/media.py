"""The files of pictures: whose is it, then bytes by an asynchronous iterator.

Never a FileResponse: under ASGI it reads the whole file into memory first.
"""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.utils.cache import get_conditional_response
from django.utils.http import content_disposition_header
from django.utils.text import slugify
from django.views.decorators.http import require_safe

from generation import storage
from generation.models import Image
from generation.views import PersonRequest

CHUNK = 256 * 1024
# A browser keeps it but asks each time: somebody else may sit there now, or may no longer be let in.
CACHE_CONTROL = "private, no-cache"
ARTICLES = re.compile(r"\b(?:an?|the)\b", re.IGNORECASE)


@require_safe
@login_required
def picture(request: PersonRequest, pk: uuid.UUID) -> HttpResponseBase:
    """The full picture, for pages."""
    image = _image(request, pk)
    return serve(request, storage.picture_path(image), "image/png", etag=image.sha256)


@require_safe
@login_required
def thumb(request: PersonRequest, pk: uuid.UUID) -> HttpResponseBase:
    """The small picture, for grids."""
    image = _image(request, pk)
    return serve(request, storage.thumb_path(image), "image/webp", etag=f"{image.sha256}-thumb")


@require_safe
@login_required
def download(request: PersonRequest, pk: uuid.UUID) -> HttpResponseBase:
    """The PNG with the recipe inside, under a name that says what it shows."""
    image = _image(request, pk)
    response = serve(request, storage.picture_path(image), "image/png", etag=image.sha256)
    if response.status_code == 200:
        response.headers["Content-Disposition"] = content_disposition_header(True, download_name(image)) or "attachment"
    return response


def download_name(image: Image) -> str:
    """cat-left-of-pizza-seed7.png: the words of the prompt, cut at a word, without anything a path could mind."""
    slug = slugify(ARTICLES.sub(" ", image.prompt), allow_unicode=True)
    if len(slug) > 48:
        slug = slug[:48].rsplit("-", 1)[0] if "-" in slug[:48] else slug[:48]
    return f"{slug.strip('-_') or 'picture'}-seed{image.seed}.png"


def _image(request: PersonRequest, pk: uuid.UUID) -> Image:
    """One query decides."""
    image = Image.objects.readable_by(request.user).filter(pk=pk).first()
    if image is None:
        raise Http404("There is no such picture.")
    return image


def serve(request: PersonRequest, path: Path, content_type: str, *, etag: str) -> HttpResponseBase:
    """A private file of our own encoder. Whoever calls has asked whose it is."""
    response: HttpResponseBase | None = get_conditional_response(request, etag=f'"{etag}"')
    if response is None:
        try:
            size = path.stat().st_size
        except OSError:
            # Gone from disk (or unreadable): a page for people, and nothing that a browser may keep.
            gone = render(request, "generation/image_missing.html", status=410)
            gone.headers["Cache-Control"] = "no-store"
            return gone
        response = HttpResponse() if request.method == "HEAD" else StreamingHttpResponse(_chunks(path))
        response.headers["Content-Length"] = str(size)
        response.headers["Content-Type"] = content_type
    response.headers["ETag"] = f'"{etag}"'
    response.headers["Cache-Control"] = CACHE_CONTROL
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    """Read in threads, so a slow disk stops nobody else. Opened late: an answer that is never sent holds no file."""
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk
    finally:
        file.close()
