"""Asking what a picture shows: a request like any other, in the same queue, that ends with words."""

from accounts.models import User
from generation.models import GenerationRequest, Image, Upload
from generation.services.checkpoints import checkpoint_that_describes
from generation.services.projects import project_personal
from generation.services.requests import request_submit


def request_describe(
    *, user: User, source_image: Image | None = None, source_upload: Upload | None = None, question: str = ""
) -> GenerationRequest:
    """In the person's own project, for the answer is nobody else's, whoever drew the picture. Raises TesseraError."""
    return request_submit(
        user=user,
        project=project_personal(user),
        checkpoint=checkpoint_that_describes(),
        params={"prompt": question},
        source_image=source_image,
        source_upload=source_upload,
        describe=True,
    )
