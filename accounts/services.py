"""The only place that changes people and the audit trail."""

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from accounts.models import AuditEvent, QuotaLimits, User
from core.errors import NotAllowedError
from core.push import close_sockets

# Looking twice within this time is one look: a page shows the same picture more than once.
ONE_LOOK = timedelta(minutes=5)
LAST_OPERATOR = "Nobody else runs this portal. Make somebody else an operator first."


def audit_record(
    *, actor: User | None, owner: User | None, verb: str, target_kind: str, target_id: object, detail: str = ""
) -> AuditEvent:
    """Write one audit line, which `owner` can read."""
    return AuditEvent.objects.create(
        actor=actor, owner=owner, verb=verb, target_kind=target_kind, target_id=str(target_id), detail=detail[:300]
    )


def look_record(*, actor: User, owner: User, target_kind: str, target_id: object, reason: str | None = None) -> None:
    """An operator looks at something private: one line per look and reason, before anything is shown.

    Without a reason (the bytes of a picture on a page that gave one) any line of the last minutes covers it.
    """
    target = {"target_kind": target_kind, "target_id": str(target_id)}
    since = timezone.now() - ONE_LOOK
    known = AuditEvent.objects.filter(actor=actor, verb="looked at", created_at__gte=since, **target)
    if reason is not None:
        known = known.filter(detail=reason[:300])
    if not known.exists():
        audit_record(actor=actor, owner=owner, verb="looked at", detail=reason or "opened the picture", **target)


def preferences_save(*, user: User, recipes_travel: bool) -> User:
    """What a person chose for the own pictures."""
    user.recipes_travel = recipes_travel
    user.save(update_fields=["recipes_travel"])
    return user


def administrator_create(*, email: str, password: str, one_time: bool) -> User:
    """The first operator. A one-time password must be changed at the first login."""
    user = User.objects.create_superuser(email, password)
    if one_time:
        user.must_change_password = True
        user.save(update_fields=["must_change_password"])
    return user


def quota_save(*, quota: QuotaLimits, owner: User | None, kind: str, target_id: object, by: User) -> None:
    """Keep the limits that an operator chose for a person (`owner`) or for something of the floors above."""
    quota.save()
    chosen = {name: getattr(quota, name) for name in QuotaLimits.LIMITS}
    words = (
        f"{name} {', '.join(value) if isinstance(value, list) else value}"
        for name, value in chosen.items()
        if value not in (None, [])
    )
    detail = "; ".join(words) or "all as set"
    audit_record(actor=by, owner=owner, verb="quota.change", target_kind=kind, target_id=target_id, detail=detail)


def locks_out(user: User, *, is_staff: bool, is_active: bool) -> bool:
    """Whether nobody could run the portal any more if `user` became so."""
    if is_staff and is_active:
        return False
    operators = User.objects.select_for_update().filter(is_staff=True, is_active=True).values_list("pk", flat=True)
    return set(operators) == {user.pk}


@transaction.atomic
def user_save(*, user: User, by: User, created: bool, password_set: bool) -> User:
    """Keep what an operator changed. A password that the operator made is a one-time password."""
    if locks_out(user, is_staff=user.is_staff, is_active=user.is_active):
        raise NotAllowedError(LAST_OPERATOR)
    if created or password_set:
        user.must_change_password = user.pk != by.pk
    user.save()
    verb = "created" if created else "changed"
    audit_record(actor=by, owner=user, verb=verb, target_kind="person", target_id=user.pk)
    if not user.is_active or password_set:
        close_sockets(user.pk, "Your account was changed. Log in again.")
    return user
