"""Quotas: how much a person, and a project, may ask for. Checked in the transaction that accepts a request.

Who asks twice at once is served one after the other: SQLite has one writer, elsewhere the rows of the quotas are
locked, the person's first. What is reserved counts as used until it is given back, see services.usage.
"""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any, TypeVar

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from accounts.models import Quota, QuotaLimits, User
from core.errors import NotAllowedError, TesseraError
from generation.amounts import seconds_words
from generation.models import Checkpoint, GenerationRequest, Project, ProjectQuota, UsageEntry
from generation.models.usage import MILLI

Lane = GenerationRequest.Lane
Row = TypeVar("Row", Quota, ProjectQuota)
TRY_OVERNIGHT = " Or choose the lane “overnight”."


class QueueFullError(TesseraError):
    """As many wait already as may."""

    code = "queue_full"
    status = 429


class QuotaSpentError(TesseraError):
    """What is left of today's device-seconds does not suffice."""

    code = "quota_spent"
    status = 429


class CheckpointNotAllowedError(NotAllowedError):
    """The person, or the project, may not use this checkpoint."""

    code = "checkpoint_not_allowed"


@dataclass(frozen=True, slots=True)
class Limits:
    """Device-seconds a day and open requests in one lane; 0 is unlimited. `checkpoints`: names, none is all."""

    seconds: int
    queued: int
    checkpoints: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Today:
    """What a person or project may use today in one lane, and has used or reserved, in milliseconds."""

    limit_ms: int
    held_ms: int
    renews: datetime

    @property
    def left_ms(self) -> int:
        """Never below nothing: a picture may have taken longer than foretold."""
        return max(self.limit_ms - self.held_ms, 0)

    @property
    def seconds(self) -> float:
        """Left."""
        return self.left_ms / MILLI

    @property
    def seconds_a_day(self) -> float:
        """In all."""
        return self.limit_ms / MILLI


def quota_check(*, user: User, project: Project, checkpoint: Checkpoint, lane: str, seconds: float) -> None:
    """Whether a request that is foretold to take so many device-seconds may be accepted now; raises TesseraError.

    Call in a transaction, before the request is made.
    """
    mine = person_limits(_locked(Quota, Q(user=user), user=user), lane)
    theirs = project_limits(_locked(ProjectQuota, Q(project=project), project=project), project, lane)
    _check_checkpoint(checkpoint, mine, "You")
    _check_checkpoint(checkpoint, theirs, f"The project “{project}”")
    _check_queued(user, project, lane, mine, theirs)
    mine_today, theirs_today = today(mine, lane, Q(owner=user)), today(theirs, lane, Q(project=project))
    more = TRY_OVERNIGHT if lane == Lane.NOW else ""
    _check_seconds(mine_today, seconds, "your", more)
    _check_seconds(theirs_today, seconds, f"the project “{project}”’s", more)


def person_limits(quota: QuotaLimits | None, lane: str) -> Limits:
    """What the row says, else the settings."""
    if lane == Lane.OVERNIGHT:
        return _limits(quota, lane, settings.OVERNIGHT_SECONDS_A_DAY, settings.MAX_OVERNIGHT)
    return _limits(quota, lane, settings.SECONDS_A_DAY, settings.MAX_QUEUED)


def project_limits(quota: QuotaLimits | None, project: Project, lane: str) -> Limits:
    """The same; the settings are about the lane now of projects that several people share."""
    if lane == Lane.NOW and project.kind == Project.Kind.TEAM:
        return _limits(quota, lane, settings.PROJECT_SECONDS_A_DAY, settings.PROJECT_MAX_QUEUED)
    return _limits(quota, lane, 0, 0)


def today(limits: Limits, lane: str, whose: Q) -> Today | None:
    """None where it is unlimited."""
    if not limits.seconds:
        return None
    held = UsageEntry.objects.filter(whose, lane=lane, day=timezone.localdate()).held_ms()
    return Today(limits.seconds * MILLI, held, renewal())


def person_today(*, user: User, lane: str = Lane.NOW) -> Today | None:
    """For pages."""
    return today(person_limits(Quota.objects.filter(user=user).first(), lane), lane, Q(owner=user))


def renewal() -> datetime:
    """The next midnight, in the time zone of the portal."""
    return timezone.make_aware(datetime.combine(timezone.localdate() + timedelta(days=1), time()))


def _limits(quota: QuotaLimits | None, lane: str, seconds: int, queued: int) -> Limits:
    if quota is None:
        return Limits(seconds, queued)
    own = (quota.seconds_a_day, quota.most_queued)
    if lane == Lane.OVERNIGHT:
        own = (quota.overnight_seconds_a_day, quota.most_overnight)
    seconds, queued = (given if mine is None else mine for mine, given in zip(own, (seconds, queued), strict=True))
    return Limits(seconds, queued, frozenset(map(str, quota.checkpoints)))


def _locked(model: type[Row], who: Q, **holder: Any) -> Row:
    rows = model._default_manager.select_for_update()
    found = rows.filter(who).first()
    if found is None:
        model._default_manager.get_or_create(**holder)
        found = rows.get(who)
    return found


def _check_checkpoint(checkpoint: Checkpoint, limits: Limits, who: str) -> None:
    if limits.checkpoints and checkpoint.name not in limits.checkpoints:
        raise CheckpointNotAllowedError(
            f"{who} may not use the checkpoint “{checkpoint}”.", hint="Choose another one, or ask an operator."
        )


def _check_queued(user: User, project: Project, lane: str, mine: Limits, theirs: Limits) -> None:
    waiting = GenerationRequest.objects.open().filter(lane=lane)
    overnight = " overnight" if lane == Lane.OVERNIGHT else ""
    if mine.queued and (count := waiting.filter(owner=user).count()) >= mine.queued:
        raise QueueFullError(
            f"You already wait for {_counted(count)}{overnight}, and {mine.queued} is the most.",
            hint="Wait until one is done, or cancel one.",
        )
    if theirs.queued and (count := waiting.filter(project=project).count()) >= theirs.queued:
        raise QueueFullError(
            f"In the project “{project}” {_counted(count)} wait{overnight} already, and {theirs.queued} is the most.",
            hint="Wait until one is done, or draw in another project.",
        )


def _counted(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"


def _check_seconds(has: Today | None, seconds: float, whose: str, more: str) -> None:
    if has is None or has.held_ms + round(seconds * MILLI) <= has.limit_ms:
        return
    message = (
        f"This is foretold to take {seconds_words(seconds)} of the device, and {seconds_words(has.seconds)} of {whose} "
        f"{seconds_words(has.seconds_a_day)} for today are left."
    )
    if seconds > has.seconds_a_day:
        raise QuotaSpentError(
            message, hint=f"That is more than a whole day has. Ask for fewer or smaller pictures.{more}"
        )
    left = has.renews - timezone.now()
    hours, minutes = divmod(int(left.total_seconds()) // 60, 60)
    when = f"{hours} h {minutes} min" if hours else f"{minutes} min"
    raise QuotaSpentError(message, hint=f"They renew at {timezone.localtime(has.renews):%H:%M}, in {when}.{more}")
