"""The only place that changes people and the audit trail."""

from accounts.models import AuditEvent, User


def audit_record(
    *, actor: User | None, owner: User | None, verb: str, target_kind: str, target_id: object, detail: str = ""
) -> AuditEvent:
    """Write one audit line, which `owner` can read."""
    return AuditEvent.objects.create(
        actor=actor, owner=owner, verb=verb, target_kind=target_kind, target_id=str(target_id), detail=detail[:300]
    )


def administrator_create(*, email: str, password: str, one_time: bool) -> User:
    """The first operator. A one-time password must be changed at the first login."""
    user = User.objects.create_superuser(email, password)
    if one_time:
        user.must_change_password = True
        user.save(update_fields=["must_change_password"])
    return user
