"""Checkpoint: a set of weights on disk and what it can do."""

from django.db import models

from core.models import UuidModel
from generation.engines.params import CheckpointSpec


class Precision(models.TextChoices):
    """Numbers to draw with. Any but the first is an operator's choice for one checkpoint."""

    AUTO = "auto", "best for the device"
    FP32 = "fp32", "32 bit"
    BF16 = "bf16", "16 bit, wide range (bf16)"
    FP16 = "fp16", "16 bit, fine steps (fp16)"
    INT8 = "int8", "8 bit weights"


class Checkpoint(UuidModel):
    """Weights in a local folder. `capabilities`, `sizes` and `defaults` are facts read from the folder."""

    name = models.SlugField(max_length=80, unique=True)
    title = models.CharField(max_length=120)
    description = models.CharField(max_length=300, blank=True)
    family = models.CharField(max_length=20)
    path = models.CharField(max_length=500)
    sha256 = models.CharField(max_length=64, blank=True, help_text="of all its files, checked when it is loaded")
    manifest = models.TextField(blank=True, editable=False, help_text="sha256 of each file, one a line")
    precision = models.CharField(max_length=8, choices=Precision.choices, default=Precision.AUTO)
    keep_warm = models.BooleanField(default=False, help_text="loaded while nobody draws, never let go for being idle")
    footprint = models.JSONField(
        default=dict, blank=True, help_text="as engines.footprint.Footprint: memory, foretold and learnt"
    )
    licence = models.CharField(max_length=120, blank=True, help_text="as its folder states it")
    capabilities = models.JSONField(default=list)
    sizes = models.JSONField(default=list, help_text="[[width, height], ...] that it can draw")
    defaults = models.JSONField(default=dict, help_text="steps, guidance, temperature, strength")
    schedulers = models.JSONField(default=list, blank=True, help_text="names of those that people may choose")
    draws_together = models.BooleanField(default=False, help_text="several requests side by side")
    size_bytes = models.BigIntegerField(default=0)
    enabled = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=300, blank=True)
    is_starter = models.BooleanField(default=False)
    seconds_per_picture = models.FloatField(null=True, blank=True, help_text="learnt from finished requests")

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.title

    def spec(self) -> CheckpointSpec:
        """What the engine room needs to know."""
        return CheckpointSpec(
            name=self.name,
            path=self.path,
            family=self.family,
            precision=self.precision,
            sha256=self.sha256,
            manifest=self.manifest,
            keep_warm=self.keep_warm,
            footprint=self.footprint,
        )

    def size_labels(self) -> list[str]:
        """["128x128", ...]"""
        return [f"{width}x{height}" for width, height in self.sizes]
