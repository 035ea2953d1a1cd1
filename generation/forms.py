"""What people type in the studio, read kindly. The service stays the judge; its refusals come back as form errors."""

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.validators import MaxLengthValidator
from django.db.models import QuerySet

from accounts.models import User
from core.errors import TesseraError
from generation.engines.params import MAX_COUNT, MAX_EDGE, MAX_SEED, MAX_STEPS, used_by, with_a_picture
from generation.engines.schedulers import TITLES
from generation.models import Checkpoint, GenerationRequest, Image, Project, Upload
from generation.services.requests import request_submit
from generation.services.uploads import upload_store

Row = TypeVar("Row", Image, Upload)

TOO_LONG = "This has %(show_value)s characters; %(limit_value)s is the most. Shorten it."
GONE = "The picture to start from is not there any more. Hand it in again, or remove it."
ANY_SIZE = [512, 512]
TUNING = ("steps", "guidance", "temperature", "strength")
if TYPE_CHECKING:
    ProjectChoice = forms.ModelChoiceField[Project]
else:  # the class itself cannot be subscribed when it runs
    ProjectChoice = forms.ModelChoiceField
ADVANCED = ("negative_prompt", *TUNING, "scheduler")
# Where a refusal of a service belongs; what is not named belongs to the whole form.
FIELD_OF_CODE = {
    "prompt_empty": "prompt",
    "prompt_too_long": "prompt",
    "size_not_drawable": "size",
    "does_not_fit": "size",
    "does_not_fit_at_all": "checkpoint",
    "checkpoint_unknown": "checkpoint",
    "checkpoint_disabled": "checkpoint",
    "project_forbidden": "project",
    "checkpoint_not_allowed": "checkpoint",
    "quota_spent": "lane",
    "capability_missing": "source_file",
    "source_missing": "source_file",
    "scheduler_unknown": "scheduler",
}


def fields_used(checkpoint: Checkpoint) -> set[str]:
    """The advanced fields that mean something to this checkpoint: it has a default for them."""
    used = {name for name in TUNING if name in checkpoint.defaults}
    heeded = "negative_prompt" in used_by(checkpoint.family, checkpoint.defaults)
    if heeded and float(checkpoint.defaults.get("guidance") or 0) > 1:
        used.add("negative_prompt")
    if "image_to_image" not in checkpoint.capabilities:
        used.discard("strength")
    return used | ({"scheduler"} if checkpoint.schedulers else set())


def _text(rows: int, **words: Any) -> forms.CharField:
    area = forms.Textarea(attrs={"rows": rows, "data-limit": settings.PROMPT_MAX_LENGTH})
    limit = MaxLengthValidator(settings.PROMPT_MAX_LENGTH, TOO_LONG)
    return forms.CharField(widget=area, validators=[limit], **words)


def _number(label: str, least: float, most: float, step: str = "1", help_text: str = "") -> forms.Field:
    kind: Callable[..., forms.Field] = forms.IntegerField if step == "1" else forms.FloatField
    wrong = f"Use a number from {least:g} to {most:g}, or leave it empty."
    messages = {"invalid": wrong, "min_value": wrong, "max_value": wrong}
    field = kind(
        required=False, label=label, min_value=least, max_value=most, help_text=help_text, error_messages=messages
    )
    field.widget.attrs |= {"step": step, "inputmode": "decimal"}
    return field


class KeyChoiceField(ProjectChoice):
    """A choice by key; what is no key at all is an unknown choice and not a riddle about UUIDs."""

    def to_python(self, value: Any) -> Project | None:
        """The row, or the field's own words."""
        try:
            return super().to_python(value)
        except forms.ValidationError as error:
            raise forms.ValidationError(self.error_messages["invalid_choice"], code="invalid_choice") from error


class StudioForm(forms.Form):
    """One wish. `user` decides which projects, pictures and uploads exist."""

    prompt = _text(3, error_messages={"required": "Describe the picture that you want, or say what shall change."})
    checkpoint = forms.ModelChoiceField(
        Checkpoint.objects.filter(enabled=True),
        to_field_name="name",
        error_messages={
            "required": "Choose a checkpoint.",
            "invalid_choice": "This checkpoint does not exist or is switched off. Choose another one.",
        },
    )
    size = forms.RegexField(
        r"^\d{1,5}x\d{1,5}$", required=False, error_messages={"invalid": "Choose one of the sizes in the list."}
    )
    count = forms.IntegerField(
        label="Pictures",
        min_value=1,
        max_value=MAX_COUNT,
        error_messages=dict.fromkeys(
            ("required", "invalid", "min_value", "max_value"), f"Choose 1 to {MAX_COUNT} pictures."
        ),
    )
    seed = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=MAX_SEED - MAX_COUNT,
        error_messages=dict.fromkeys(
            ("invalid", "min_value", "max_value"), "Use a whole number from 0, or leave it empty for a random one."
        ),
    )
    project = KeyChoiceField(
        Project.objects.none(),
        empty_label=None,
        error_messages={
            "required": "Choose the project that shall keep the pictures.",
            "invalid_choice": "You may not draw in this project. Choose one from the list.",
        },
    )
    negative_prompt = _text(2, required=False, label="What to avoid")
    steps = _number("Steps", 1, MAX_STEPS, help_text="More takes longer.")
    guidance = _number("Guidance", 0, 30, "any", "How closely it follows the words.")
    temperature = _number("Temperature", 0, 5, "any", "Lower is tamer, higher is wilder.")
    strength = _number("Change", 0.01, 1, "any", "1 leaves nothing of the picture you hand in.")
    scheduler = forms.ChoiceField(
        required=False,
        choices=[("", "The checkpoint's own"), *TITLES.items()],
        error_messages={"invalid_choice": "There is no such scheduler. Choose one from the list."},
    )
    lane = forms.ChoiceField(
        required=False,
        choices=[("now", "Now"), ("overnight", "Overnight")],
        error_messages={"invalid_choice": "Choose now or overnight."},
    )
    source_image = forms.UUIDField(required=False, widget=forms.HiddenInput, error_messages={"invalid": GONE})
    source_upload = forms.UUIDField(required=False, widget=forms.HiddenInput, error_messages={"invalid": GONE})
    source_file = forms.FileField(required=False, allow_empty_file=True)

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        cast(KeyChoiceField, self.fields["project"]).queryset = Project.objects.drawable_by(user)

    def clean_size(self) -> tuple[int, int] | None:
        """ "128x192" as numbers."""
        value = self.cleaned_data["size"]
        if not value:
            return None
        width, height = (int(part) for part in value.split("x"))
        if max(width, height) > MAX_EDGE:
            raise forms.ValidationError(f"{MAX_EDGE} pixels is the longest edge. Choose one of the sizes in the list.")
        return width, height

    def clean_source_image(self) -> Image | None:
        """A picture that the person may see and that is not in the trash."""
        return _source(Image.objects.readable_by(self.user).kept(), self.cleaned_data["source_image"])

    def clean_source_upload(self) -> Upload | None:
        """A picture that the person handed in."""
        return _source(Upload.objects.filter(owner=self.user), self.cleaned_data["source_upload"])

    def clean(self) -> dict[str, Any]:
        """Forget what the checkpoint has no use for, also when it is wrong."""
        cleaned = self.cleaned_data
        for name in ("source_image", "source_upload"):
            for message in self.errors.pop(name, ()):
                self.add_error("source_file", message)  # the one place for words about the picture
        checkpoint = cleaned.get("checkpoint")
        if checkpoint is None:
            return cleaned
        used = fields_used(checkpoint)
        if not self.has_source:
            used.discard("strength")
        for name in set(ADVANCED) - used:
            cleaned[name] = None
            self.errors.pop(name, None)
        return cleaned

    @property
    def has_source(self) -> bool:
        """Whether the person handed in a picture, usable or not."""
        return any(self.cleaned_data.get(name) for name in ("source_file", "source_image", "source_upload"))

    def submit(self) -> GenerationRequest | None:
        """The request, or None with the reasons in `errors`."""
        if not self.is_valid():
            return None
        values = self.cleaned_data
        try:
            upload = self._hand_in(values["source_file"]) or values["source_upload"]
            return request_submit(
                user=self.user,
                project=values["project"],
                checkpoint=values["checkpoint"],
                params=self.params(),
                source_image=None if upload else values["source_image"],
                source_upload=upload,
                lane=values["lane"] or GenerationRequest.Lane.NOW,
            )
        except TesseraError as error:
            self.add_error(_field_of(error), str(error))
        return None

    def params(self) -> dict[str, Any]:
        """What the service takes."""
        values = self.cleaned_data
        sizes = values["checkpoint"].sizes or [ANY_SIZE]
        width, height = values["size"] or sizes[0]
        names = ("prompt", "count", "seed", *ADVANCED)
        return {"width": width, "height": height} | {name: values[name] for name in names}

    def _hand_in(self, file: "UploadedFile[Any] | None") -> Upload | None:
        # Without JavaScript the picture comes with the form; with it, it was handed in before.
        if file is None:
            return None
        checkpoint = self.cleaned_data["checkpoint"]
        if with_a_picture(checkpoint.capabilities) not in checkpoint.capabilities:
            raise TesseraError(
                f"The checkpoint “{checkpoint}” cannot start from a picture.",
                hint="Choose another one, or remove the picture.",
                code="capability_missing",
            )
        return upload_store(user=self.user, file=file, size=file.size or 0)


def _field_of(error: TesseraError) -> str | None:
    return "source_file" if error.code.startswith("upload_") else FIELD_OF_CODE.get(error.code)


def _source(rows: QuerySet[Row], pk: uuid.UUID | None) -> Row | None:
    if pk is None:
        return None
    found = rows.filter(pk=pk).first()
    if found is None:
        raise forms.ValidationError(GONE)
    return found
