"""Project: a gallery and the people who may see it."""

from django.db import models
from django.db.models import Q

from accounts.models import User
from core.models import UuidModel


class ProjectQuerySet(models.QuerySet["Project"]):
    """The only way doors read projects."""

    def visible_to(self, user: User) -> "ProjectQuerySet":
        """Own and shared ones. Being an operator opens no private project."""
        return self.filter(Q(owner=user) | Q(memberships__user=user)).distinct()

    def drawable_by(self, user: User) -> "ProjectQuerySet":
        """Those whose gallery `user` may add pictures to."""
        roles = [Membership.Role.EDITOR, Membership.Role.MANAGER]
        return self.filter(Q(owner=user) | Q(memberships__user=user, memberships__role__in=roles)).distinct()


class Project(UuidModel):
    """Members and a gallery. Everybody has one personal project; team projects are shared."""

    class Kind(models.TextChoices):
        PERSONAL = "personal"
        TEAM = "team"

    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.TEAM)
    owner = models.ForeignKey(User, models.PROTECT, related_name="owned_projects")
    members = models.ManyToManyField(User, through="Membership", related_name="projects")

    objects = ProjectQuerySet.as_manager()

    class Meta:
        ordering = ("kind", "name")
        constraints = (
            models.UniqueConstraint(
                fields=["owner"], condition=Q(kind="personal"), name="one_personal_project_per_person"
            ),
        )

    def __str__(self) -> str:
        return self.name


class Membership(UuidModel):
    """Who may do what in a team project."""

    class Role(models.TextChoices):
        VIEWER = "viewer"
        EDITOR = "editor"
        MANAGER = "manager"

    project = models.ForeignKey(Project, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.VIEWER)

    class Meta:
        constraints = (models.UniqueConstraint(fields=["project", "user"], name="one_role_per_member"),)

    def __str__(self) -> str:
        return f"{self.user} is {self.role} of {self.project}"
