"""The ledger of device-seconds: what is reserved when a request is accepted, charged or given back when it is over.

Called in the transaction that moves the request, so that the ledger says exactly what the requests say.
"""

from django.utils import timezone

from generation.models import Device, GenerationRequest
from generation.models.usage import MILLI, UsageEntry
from generation.services.prices import prices_of

Kind = UsageEntry.Kind


def usage_reserve(*, request: GenerationRequest) -> UsageEntry:
    """Set aside what it is foretold to take."""
    return UsageEntry.objects.create(
        kind=Kind.RESERVE, reserved_ms=_milliseconds(request.predicted_seconds), **_about(request)
    )


def usage_end(*, request: GenerationRequest, seconds: float = 0.0, pictures: int = 0) -> UsageEntry:
    """It is over: give back what was reserved, and charge so many seconds of the device. Without any: a refund.

    `seconds` and `pictures` of its last drawing; what was kept before is added.
    """
    kept, before = GenerationRequest.objects.values_list("kept", "kept_seconds").get(pk=request.pk)
    seconds, pictures = seconds + before, pictures + kept
    held = UsageEntry.objects.filter(request=request, kind=Kind.RESERVE).values_list("reserved_ms", flat=True).first()
    used = _milliseconds(seconds)
    device = Device.objects.filter(pk=request.device_id).first() if used and request.device_id else None
    cost = prices_of(device).cost(used)
    return UsageEntry.objects.create(
        kind=Kind.SETTLE if used else Kind.REFUND,
        reserved_ms=-(held or 0),
        used_ms=cost.milliseconds,
        energy_mj=cost.millijoules,
        cost_nano=cost.nano,
        pictures=pictures if used else 0,
        device=device.name if device is not None else "",
        **_about(request),
    )


def _about(request: GenerationRequest) -> dict[str, object]:
    return {
        "request": request,
        "owner_id": request.owner_id,
        "project_id": request.project_id,
        "checkpoint_id": request.checkpoint_id,
        "lane": request.lane,
        "day": timezone.localdate(request.created_at),
    }


def _milliseconds(seconds: float) -> int:
    return max(round(seconds * MILLI), 0)
