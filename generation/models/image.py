"""Image: a finished picture. Upload: a picture that somebody handed in."""

from django.db import models
from django.db.models import Q

from accounts.models import User
from core.models import UuidModel
from generation.models.project import Membership, Project


class ImageQuerySet(models.QuerySet["Image"]):
    """The only way doors read pictures."""

    def readable_by(self, user: User) -> "ImageQuerySet":
        """Pictures of own and shared projects; those in the trash only for who may bring them back."""
        member = Q(project__memberships__user=user)
        editor = Q(project__memberships__role__in=[Membership.Role.EDITOR, Membership.Role.MANAGER])
        return self.filter(Q(project__owner=user) | member & (Q(trashed_at__isnull=True) | editor)).distinct()

    def kept(self) -> "ImageQuerySet":
        """Not in the trash."""
        return self.filter(trashed_at__isnull=True)

    def trashed(self) -> "ImageQuerySet":
        """In the trash."""
        return self.filter(trashed_at__isnull=False)


class Image(UuidModel):
    """One finished picture and its recipe. The file is written before the row."""

    request = models.ForeignKey(
        "generation.GenerationRequest", models.PROTECT, null=True, blank=True, related_name="images"
    )
    index = models.PositiveSmallIntegerField(default=0)
    project = models.ForeignKey(Project, models.PROTECT, related_name="images")
    owner = models.ForeignKey(User, models.PROTECT, related_name="images")
    prompt = models.TextField(max_length=4000)
    recipe = models.JSONField(default=dict, help_text="everything needed to draw it again")
    seed = models.BigIntegerField()
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    checkpoint_name = models.CharField(max_length=80)
    file = models.CharField(max_length=200, help_text="relative to the media folder")
    sha256 = models.CharField(max_length=64)
    size_bytes = models.PositiveIntegerField()
    trashed_at = models.DateTimeField(null=True, blank=True)

    objects = ImageQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at", "index")
        indexes = (models.Index(fields=["project", "trashed_at", "-created_at"]),)
        constraints = (models.UniqueConstraint(fields=["request", "index"], name="one_picture_per_request_and_index"),)

    def __str__(self) -> str:
        return f"{self.width}x{self.height} {self.pk}"


class ImageCodes(models.Model):
    """What an autoregressive picture was drawn of. A table of their own, because lists of pictures never need them."""

    image = models.OneToOneField(Image, models.CASCADE, primary_key=True, related_name="drawn_of")
    packed = models.TextField(help_text="as generation.engines.codes packs them: about 1 KB for 576 codes")

    class Meta:
        verbose_name_plural = "image codes"

    def __str__(self) -> str:
        return f"codes of {self.image_id}"


class Upload(UuidModel):
    """A picture handed in for image-to-image; re-encoded by us, private to its owner."""

    owner = models.ForeignKey(User, models.PROTECT, related_name="uploads")
    file = models.CharField(max_length=200)
    sha256 = models.CharField(max_length=64)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    size_bytes = models.PositiveIntegerField()

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"
