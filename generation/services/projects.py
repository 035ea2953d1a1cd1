"""Projects and who is in them. Managers change members; the owner always manages, so no project is ever without one."""

from django.db import transaction

from accounts.models import User
from accounts.services import audit_record
from core.errors import NotAllowedError, TesseraError
from generation import permissions
from generation.models import GenerationRequest, Membership, Project
from generation.services.requests import request_cancel

PERSONAL_NAME = "Personal"
NAME_MAX_LENGTH = 120


def project_personal(user: User) -> Project:
    """The project that everybody has. The constraint of the table decides when two doors make it at once."""
    project, _ = Project.objects.get_or_create(owner=user, kind=Project.Kind.PERSONAL, defaults={"name": PERSONAL_NAME})
    return project


def project_create(*, user: User, name: str) -> Project:
    """A team project that `user` owns and manages."""
    return Project.objects.create(name=_clean_name(name), kind=Project.Kind.TEAM, owner=user)


def project_rename(*, actor: User, project: Project, name: str) -> Project:
    """Give a team project another name."""
    _require_manager(actor, project)
    project.name = _clean_name(name)
    project.save(update_fields=["name"])
    return project


@transaction.atomic
def member_add(*, actor: User, project: Project, email: str, role: str) -> Membership:
    """Let the person with this address in."""
    _require_manager(actor, project)
    person = _person(email)
    if person.pk == project.owner_id:
        raise TesseraError(f"{person} owns this project.", hint="The owner always manages it.", code="already_owner")
    membership, made = Membership.objects.get_or_create(
        project=project, user=person, defaults={"role": _clean_role(role)}
    )
    if not made:
        raise TesseraError(
            f"{person} is already in this project.", hint="Change the role in the list.", code="already_member"
        )
    _record(actor, project, "member.add", person, f"as {membership.role}")
    return membership


@transaction.atomic
def member_role_change(*, actor: User, project: Project, member: User, role: str) -> Membership:
    """Give a member another role."""
    _require_manager(actor, project)
    membership = _membership(project, member)
    before, membership.role = membership.role, _clean_role(role)
    if before != membership.role:
        membership.save(update_fields=["role"])
        if membership.role == Membership.Role.VIEWER:
            _stop_drawing(project, member, f"You may look at the project “{project}” now, but not draw in it.")
        _record(actor, project, "member.role", member, f"from {before} to {membership.role}")
    return membership


@transaction.atomic
def member_remove(*, actor: User, project: Project, member: User) -> None:
    """Let a member out. The pictures that they drew here stay in the project."""
    _require_manager(actor, project)
    membership = _membership(project, member)
    membership.delete()
    _stop_drawing(project, member, f"You are no longer in the project “{project}”.")
    _record(actor, project, "member.remove", member, f"was {membership.role}")


def _stop_drawing(project: Project, member: User, reason: str) -> None:
    """What the member still waits for would be drawn into a gallery that is no longer theirs to fill."""
    for request in GenerationRequest.objects.filter(project=project, owner=member).open():
        request_cancel(request=request, reason=reason)


def _require_manager(actor: User, project: Project) -> None:
    if project.kind == Project.Kind.PERSONAL:
        raise NotAllowedError(
            "A personal project has one member and keeps its name.", hint="Make a team project to share pictures."
        )
    if not permissions.can_manage(actor, project):
        raise NotAllowedError("Only managers of this project may do this.", hint="Ask its owner.")


def _clean_name(name: str) -> str:
    clean = " ".join(name.split())
    if not clean:
        raise TesseraError("A project needs a name.", hint="Type one, for example Posters.", code="name_missing")
    if len(clean) > NAME_MAX_LENGTH:
        raise TesseraError(
            f"The name has {len(clean)} characters.", hint=f"Use at most {NAME_MAX_LENGTH}.", code="name_too_long"
        )
    return clean


def _clean_role(role: str) -> str:
    if role not in Membership.Role.values:
        raise TesseraError(
            f"There is no role {role[:40]!r}.", hint=f"Use {', '.join(Membership.Role.values)}.", code="role_unknown"
        )
    return role


def _person(email: str) -> User:
    address = email.strip().lower()
    person = User.objects.filter(email=address, is_active=True).first()
    if person is None:
        raise TesseraError(
            f"Nobody here has the address {address[:254]!r}." if address else "Whom do you want to add?",
            hint="Type the e-mail address with which they log in. An operator makes new accounts.",
            code="person_unknown",
        )
    return person


def _membership(project: Project, member: User) -> Membership:
    # Locked where the database can (SQLite's transactions are immediate, so there it is as good).
    membership = Membership.objects.select_for_update().filter(project=project, user=member).first()
    if membership is None:
        raise TesseraError(f"{member} is not in this project.", hint="Load the page again.", code="not_a_member")
    return membership


def _record(actor: User, project: Project, verb: str, person: User, detail: str) -> None:
    audit_record(
        actor=actor,
        owner=project.owner,
        verb=verb,
        target_kind="project",
        target_id=project.pk,
        detail=f"{person.email} {detail} in {project.name}",
    )
