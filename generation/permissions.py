"""Who may do what. Pure questions, asked by every door."""

from accounts.models import User
from generation.models import Image, Membership, Project


def role_in(user: User, project: Project) -> str | None:
    """ "manager" for the owner, else the member's role, else None."""
    if project.owner_id == user.pk:
        return str(Membership.Role.MANAGER)
    membership = Membership.objects.filter(project=project, user=user).first()
    return membership.role if membership else None


def can_draw_in(user: User, project: Project) -> bool:
    """Owner, editors and managers."""
    return role_in(user, project) in {Membership.Role.EDITOR, Membership.Role.MANAGER}


def can_manage(user: User, project: Project) -> bool:
    """Owner and managers; nobody manages the members of a personal project."""
    return project.kind == Project.Kind.TEAM and role_in(user, project) == Membership.Role.MANAGER


def can_edit_image(user: User, image: Image) -> bool:
    """Move to the trash and back."""
    return can_draw_in(user, image.project)
