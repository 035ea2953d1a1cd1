"""Pictures handed in to start from: taken with a sentence when refused, shown to their owner only."""

import uuid

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_POST, require_safe

from core.errors import TesseraError
from generation.models import Upload
from generation.services.uploads import UploadRefusedError, check_bytes, upload_store
from generation.views import PersonRequest
from generation.views.media import serve
from generation.views.studio import source_context

# What a form adds around the bytes of the file.
FORM_OVERHEAD = 64 * 1024


# The token is checked by the inner view: the check reads the body, and one that is too long shall not be read.
@csrf_exempt
@require_POST
@login_required
def create(request: PersonRequest) -> HttpResponse:
    """Answer with the field of the form: the picture, or why it was refused."""
    length = int(request.META.get("CONTENT_LENGTH") or 0)
    try:
        if length > FORM_OVERHEAD:
            check_bytes(length - FORM_OVERHEAD)
    except UploadRefusedError as error:
        return _field(request, error=str(error), status=error.status)
    return _create(request)


@csrf_protect
def _create(request: PersonRequest) -> HttpResponse:
    file = request.FILES.get("source_file") or request.FILES.get("picture")
    if file is None:
        return _field(request, error="No file arrived. Choose a PNG, JPEG or WebP picture.", status=422)
    try:
        upload = upload_store(user=request.user, file=file, size=file.size or 0)
    except TesseraError as error:
        return _field(request, error=str(error), status=error.status)
    return _field(request, upload=upload, status=201)


@require_safe
@login_required
def picture(request: PersonRequest, pk: uuid.UUID) -> HttpResponseBase:
    """The picture, for its owner."""
    upload = get_object_or_404(Upload, pk=pk, owner=request.user)
    return serve(request, upload.file, "image/png", etag=upload.sha256)


def _field(request: PersonRequest, *, status: int, upload: Upload | None = None, error: str = "") -> HttpResponse:
    # A refused picture leaves the one that was chosen before.
    before = request.POST if upload is None and status != 413 else {}
    key = upload.pk if upload else before.get("source_upload")
    context = source_context(request.user, before.get("source_image"), key)
    return render(request, "generation/_source.html", {**context, "source_error": error}, status=status)
