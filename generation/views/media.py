"""The files of pictures: whose is it, then bytes by an asynchronous iterator.

Never a FileResponse: under ASGI it reads the whole file into memory first.
"""

import asyncio
import logging
import re
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse, HttpResponseBase, HttpResponseRedirect, StreamingHttpResponse
from django.shortcuts import render
from django.utils.cache import get_conditional_response
from django.utils.http import content_disposition_header
from django.utils.text import slugify
from django.views.decorators.http import require_safe

from generation import storage
from generation.engines.errors import SigningError
from generation.models import Image
from generation.services.downloads import Outgoing, file_outgoing, picture_outgoing, recipe_leaves, silent_name
from generation.services.signing import picture_signed, signing_wanted
from generation.views import PersonRequest

logger = logging.getLogger(__name__)
CHUNK = 256 * 1024
# For bytes that come from here. A browser keeps them but asks each time: somebody else may sit there now, or may no
# longer be let in.
CACHE_CONTROL = "private, no-cache"
RECIPE_WANTED = {"0": False, "1": True}  # anything else leaves it to the settings
ACCEL = "/_pictures/"  # the internal location of platform/deploy/nginx.conf
ARTICLES = re.compile(r"\b(?:an?|the)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Form:
    """How bytes are handed out: their type, and for a download its name."""

    content_type: str
    disposition: str = ""


@require_safe
@login_required
def picture(request: PersonRequest, pk: uuid.UUID) -> HttpResponseBase:
    """The full picture, for pages, not signed. It can be saved from there, so it carries no more than a download."""
    image = _image(request, pk)
    return _dressed(request, image, with_recipe=recipe_leaves(image=image, user=request.user))


@require_safe
@login_required
def thumb(request: PersonRequest, pk: uuid.UUID) -> HttpResponseBase:
    """The small picture, for grids."""
    image = _image(request, pk)
    return serve(request, storage.thumb_name(image.file), "image/webp", etag=f"{image.sha256}-thumb")


@require_safe
@login_required
def download(request: PersonRequest, pk: uuid.UUID) -> HttpResponseBase:
    """The PNG under a name of its own, signed where that is set; ?recipe=0 or 1 says whether the recipe is inside."""
    image = _image(request, pk)
    wanted = RECIPE_WANTED.get(request.GET.get("recipe", ""))
    with_recipe = recipe_leaves(image=image, user=request.user, wanted=wanted)
    take = _signed if signing_wanted() else _dressed
    name = content_disposition_header(True, download_name(image, with_recipe=with_recipe)) or "attachment"
    return take(request, image, with_recipe=with_recipe, disposition=name)


def download_name(image: Image, *, with_recipe: bool = True) -> str:
    """cat-left-of-pizza-seed7.png: the words of the prompt, cut at a word, without anything a path could mind.

    Without the recipe the name is silent too.
    """
    if not with_recipe:
        return silent_name(image)
    slug = slugify(ARTICLES.sub(" ", image.prompt), allow_unicode=True)
    if len(slug) > 48:
        slug = slug[:48].rsplit("-", 1)[0] if "-" in slug[:48] else slug[:48]
    return f"{slug.strip('-_') or 'picture'}-seed{image.seed}.png"


def _image(request: PersonRequest, pk: uuid.UUID) -> Image:
    """One query decides."""
    image = Image.objects.readable_by(request.user).select_related("owner").filter(pk=pk).first()
    if image is None:
        raise Http404("There is no such picture.")
    return image


def _dressed(request: PersonRequest, image: Image, *, with_recipe: bool, disposition: str = "") -> HttpResponseBase:
    etag = image.sha256 if with_recipe else f"{image.sha256}-bare"
    outgoing = partial(picture_outgoing, image=image, with_recipe=with_recipe)
    return _answer(request, outgoing, Form("image/png", disposition), etag)


def _signed(request: PersonRequest, image: Image, *, with_recipe: bool, disposition: str) -> HttpResponseBase:
    """Signed anew each time, so no two answers are the same bytes and none has an ETag."""
    try:
        going = picture_signed(image=image, user=request.user, with_recipe=with_recipe)
    except SigningError as error:
        logger.error("Picture %s was not handed out, because it could not be signed. %s", image.pk, error)
        return _refused(request, "generation/image_unsigned.html", 503, image=image)
    except OSError:
        return _gone(request)
    return _streamed(request, going, Form("image/png", disposition), "no-store")


def serve(request: PersonRequest, name: str, content_type: str, *, etag: str) -> HttpResponseBase:
    """A private file of our own encoder. Whoever calls has asked whose it is."""
    return _answer(request, partial(file_outgoing, name), Form(content_type), etag)


def _answer(request: PersonRequest, outgoing: Callable[[], Outgoing], form: Form, etag: str) -> HttpResponseBase:
    response: HttpResponseBase | None = get_conditional_response(request, etag=f'"{etag}"')
    if response is None:
        try:
            going = outgoing()
            if going.as_kept and settings.DOWNLOADS == "presigned":
                return _elsewhere(going, form)
        except OSError:
            return _gone(request)
        if going.as_kept and settings.DOWNLOADS == "accel":
            response = _by_the_proxy(going, form)
        else:
            response = _streamed(request, going, form, CACHE_CONTROL)
    response.headers["ETag"] = f'"{etag}"'
    response.headers["Cache-Control"] = CACHE_CONTROL
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _elsewhere(going: Outgoing, form: Form) -> HttpResponseBase:
    """To the bucket, to an address that whoever has it can use for DOWNLOAD_SECONDS.

    So nobody sees more when a browser, in the same session, asks here again only after half of that time; and what it
    fetched from there is not fetched again for every page. (Chromium keeps no redirect that it must ask for each time.)
    """
    response = HttpResponseRedirect(
        storage.address(going.name, content_type=form.content_type, disposition=form.disposition)
    )
    response.headers["Cache-Control"] = f"private, max-age={settings.DOWNLOAD_SECONDS // 2}"
    response.headers["Vary"] = "Cookie"
    return response


def _by_the_proxy(going: Outgoing, form: Form) -> HttpResponseBase:
    """nginx sends the file in place of this answer; the address is one that nobody else can ask for."""
    response = HttpResponse()
    response.headers["X-Accel-Redirect"] = ACCEL + quote(going.name)
    return _formed(response, form, CACHE_CONTROL)


def _streamed(request: PersonRequest, going: Outgoing, form: Form, cache_control: str) -> HttpResponseBase:
    response = HttpResponse() if request.method == "HEAD" else StreamingHttpResponse(_chunks(going))
    response.headers["Content-Length"] = str(going.size)
    return _formed(response, form, cache_control)


def _formed(response: HttpResponseBase, form: Form, cache_control: str) -> HttpResponseBase:
    response.headers["Content-Type"] = form.content_type
    if form.disposition:
        response.headers["Content-Disposition"] = form.disposition
    response.headers["Cache-Control"] = cache_control
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _gone(request: PersonRequest) -> HttpResponseBase:
    """Gone from disk, or unreadable."""
    return _refused(request, "generation/image_missing.html", 410)


def _refused(request: PersonRequest, template: str, status: int, **context: Image) -> HttpResponseBase:
    """A page for people, and nothing that a browser may keep."""
    response = render(request, template, context, status=status)
    response.headers["Cache-Control"] = "no-store"
    return response


async def _chunks(going: Outgoing) -> AsyncIterator[bytes]:
    """Read in threads, so a slow disk stops nobody else. Opened late: an answer that is never sent holds no file."""
    if going.head:
        yield going.head
    file = await asyncio.to_thread(storage.open_file, going.name)
    try:
        await asyncio.to_thread(file.seek, going.skip)
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk
    finally:
        file.close()
