"""ProjectQuota: how much may be asked for in one project, by all its members together."""

from django.db import models

from accounts.models import QuotaLimits
from generation.models.project import Project


class ProjectQuota(QuotaLimits):
    """Of one project. Locked while a request in it is accepted, after the person's own."""

    project = models.OneToOneField(Project, models.CASCADE, related_name="quota")

    class Meta:
        ordering = ("project__name",)
        verbose_name = "quota of a project"
        verbose_name_plural = "quotas of projects"

    def __str__(self) -> str:
        return f"Quota of {self.project}"
