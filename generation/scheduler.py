"""Chooses who is served next and claims the request: rows in, the policy of `generation.policy`, a row out.

No tensors and no events here.
"""

import uuid
from collections.abc import Callable, Hashable, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import cast

from django.conf import settings
from django.db import transaction
from django.db.models import F, Value
from django.db.models.functions import Greatest
from django.utils import timezone

from generation.fitting import unfit_on
from generation.models import Device, GenerationRequest, Turn
from generation.policy.choice import Choice, Chooser, DeviceNow, Rules
from generation.policy.line import Waiting
from generation.policy.outlook import Outlook, Served
from generation.policy.turns import Turns
from generation.presence import usable_on
from generation.queue_state import Loads, Queue, devices_now, queue_read, resident_of

RACES = 20

# Of the devices that this process serves. Forgetting it all on a restart is harmless: the room has nothing loaded then,
# and who was passed over waits once more within the bound.
_passed: dict[Hashable, float] = {}
_drawn: dict[Hashable, float] = {}
_credit: dict[Hashable, float] = {}


def claim_next(device: Device, resident: Iterable[str]) -> GenerationRequest | None:
    """Claim a request for `device` by compare-and-swap, its attempt counted; None when nothing can be served."""
    return _claim_best(device, resident, lambda one: True)


def claim_companion(device: Device, checkpoint: str, most: int, *, overnight: bool = False) -> GenerationRequest | None:
    """Claim a request for at most so many pictures, to be drawn beside those of this checkpoint that are drawn now.

    None when by the same policy it is somebody else's turn, so that a sitting ends when others wait. Who was drawn
    before, and broke off, is drawn alone: it may be what broke, and shall not take others with it twice. Who can wait
    for the night joins only those who can too (`overnight`).
    """

    def fits(one: Waiting) -> bool:
        may = not one.alone and (overnight or not one.overnight)
        return may and one.checkpoint == checkpoint and one.pictures <= most

    return _claim_best(device, [checkpoint], fits)


def _claim_best(device: Device, resident: Iterable[str], fits: Callable[[Waiting], bool]) -> GenerationRequest | None:
    loads, loaded = Loads(), frozenset(resident)
    for _ in range(RACES):
        now, devices = timezone.now(), list(Device.objects.all())
        if any(one.pk == device.pk and one.paused for one in devices):
            return None
        queue = queue_read()
        usable, unfit = usable_on(devices), unfit_on(devices)
        others = devices_now((one for one in devices if one.pk != device.pk), now, usable, unfit)
        mine = _mine(device, loaded, usable.get(device.pk), unfit.get(device.pk, frozenset()))
        chooser = Chooser(
            queue.line,
            queue.turns,
            mine,
            partial(loads, device.pk),
            rules(),
            others,
            _passed,
            now.timestamp(),
        )
        choice = chooser.choose()
        if choice is None or not fits(choice.waiting):
            return None
        if claimed := _claim(choice, queue.turns, device, now):
            _remember(choice, queue, device, now)
            return claimed
    return None


def places() -> dict[uuid.UUID, int]:
    """The place of every queued request by the same policy; 1 is next."""
    return {pk: served.place for pk, served in outlook().items()}


def outlook() -> dict[uuid.UUID, Served]:
    """When every queued request is served, if nobody else comes. Left out is what no device is there for."""
    now, queue = timezone.now(), queue_read()
    if not queue.line:
        return {}
    rows = list(Device.objects.all())
    devices = devices_now(rows, now, usable_on(rows), unfit_on(rows))
    if not devices and any(row.is_alive() for row in rows):
        return {}  # paused, or broken: nobody knows for how long
    if not devices:  # they start, or are about to
        devices = [DeviceNow(None, frozenset().union(*map(resident_of, rows)), credit=rules().credit_first)]
    found = Outlook(queue.line, queue.turns, devices, Loads(), rules()).play()
    return {pk: served for pk, served in found.items() if isinstance(pk, uuid.UUID)}


def rules() -> Rules:
    """The policy's, as the installation set them."""
    return Rules(longest_passed=settings.LONGEST_SWAP_WAIT)


def _claim(choice: Choice, turns: Turns, device: Device, now: datetime) -> GenerationRequest | None:
    # SQLite ignores select_for_update silently, so the row count of a conditional update decides who has it.
    pk = cast(uuid.UUID, choice.waiting.id)
    with transaction.atomic():  # who cannot be read after all is not claimed either: nobody would renew the lease
        claimed = GenerationRequest.objects.filter(pk=pk, state=GenerationRequest.State.QUEUED).update(
            state=GenerationRequest.State.LOADING,
            version=F("version") + 1,
            attempt=F("attempt") + 1,
            run=F("run") + 1,
            device=device,
            lease_token=uuid.uuid4(),
            lease_until=now + timedelta(seconds=settings.LEASE_SECONDS),
            started_at=now,
            step=0,
            steps=0,
            error_code="",
        )
        if claimed != 1:
            return None
        found = GenerationRequest.objects.select_related(
            "owner", "project", "checkpoint", "source_image", "source_upload"
        ).get(pk=pk)
        _charge(found, choice.charge, turns.level)
        return found


def _charge(request: GenerationRequest, seconds: float, level: float) -> None:
    """In the transaction of the claim. Added in the database: another device may charge the same person now."""
    account, highest = Greatest(F("account"), Value(level)) + seconds, Greatest(F("level"), Value(level))
    turn = Turn.objects.filter(owner=request.owner)
    if not turn.update(account=account, level=highest):
        # Ignored when another device was quicker.
        Turn.objects.bulk_create([Turn(owner=request.owner, account=level, level=level)], ignore_conflicts=True)
        turn.update(account=account, level=highest)


def _mine(
    device: Device, resident: frozenset[str], present: frozenset[str] | None, unfit: frozenset[uuid.UUID]
) -> DeviceNow:
    drawn, credit = _drawn.get(device.pk, 0.0), _credit.get(device.pk, rules().credit_first)
    return DeviceNow(device.pk, resident, present, drawn=drawn, credit=credit, unfit=unfit)


def _remember(choice: Choice, queue: Queue, device: Device, now: datetime) -> None:
    drawn = 0.0 if choice.loads else _drawn.get(device.pk, 0.0)
    _drawn[device.pk], _credit[device.pk] = drawn + choice.waiting.seconds, choice.credit
    waiting = {one.id for one in queue.line}
    for gone in set(_passed) - waiting:
        del _passed[gone]
    for one in choice.passed:
        _passed.setdefault(one.id, now.timestamp())
