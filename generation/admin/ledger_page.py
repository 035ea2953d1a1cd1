"""The memory ledger of a device as operators read it: who holds what, since when, and how much is left. Reads only."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle
from typing import Any

from django.conf import settings
from django.utils import timezone

from generation.engines.ledger import Holding, Ledger
from generation.limits import MEGABYTE, limit_of
from generation.models import Checkpoint, Device

GIGABYTE = 1_000_000_000
LEAST = MEGABYTE // 2  # less is not shown
WHERE = {"device": "on the device", "warm": "waits in host memory"}
SPARING = {
    "whole": "",
    "sliced": "sliced",
    "tiled": "sliced and tiled",
    "single": "one at a time",
    "components": "part by part",
    "sequential": "layer by layer",
}
SHADES = ("ledger-held-1", "ledger-held-2", "ledger-held-3")


@dataclass(frozen=True, slots=True)
class Piece:
    """Of a bar: `share` is of 100."""

    label: str
    size: str
    share: float
    look: str


@dataclass(frozen=True, slots=True)
class Bar:
    """How full something is."""

    label: str
    words: str
    pieces: tuple[Piece, ...]
    legend: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One checkpoint. `known`: it has a row of its own, so it can be kept warm or let go."""

    name: str
    title: str
    where: str
    since: datetime | None
    device: str
    host: str
    drawn_with: str
    in_use: int
    used: datetime | None
    kept: bool
    known: bool


@dataclass(frozen=True, slots=True)
class LedgerPage:
    """All that the panel shows."""

    state: str
    silent: bool
    drawing: str
    bars: tuple[Bar, ...]
    rows: tuple[Row, ...]
    recycled: str
    recycled_at: datetime | None
    wishes: str


def ledger_page(device: Device) -> LedgerPage:
    """What the device told last. Nothing is held where no room is open."""
    ledger = _ledger(device)
    open_ = device.room_pid is not None
    holdings = tuple(sorted(ledger.holdings, key=lambda one: (one.tier, one.name))) if open_ else ()
    checkpoints = {one.name: one for one in Checkpoint.objects.filter(enabled=True)}
    names = [holding.name for holding in holdings]
    waiting = [one for name, one in sorted(checkpoints.items()) if one.keep_warm and name not in names]
    return LedgerPage(
        state=_state(device),
        silent=_silent(device),
        drawing=str(device.drawing or "")[:8],
        bars=_bars(device, ledger, holdings, checkpoints) if open_ else (),
        rows=(*(_row(one, checkpoints.get(one.name)) for one in holdings), *map(_missing, waiting)),
        recycled=f"{device.recycles} times" if device.recycles != 1 else "once",
        recycled_at=device.recycled_at,
        wishes=_wishes(device, ledger) if open_ else "",
    )


def amount(size: int) -> str:
    """In words."""
    if size >= GIGABYTE:
        return f"{size / GIGABYTE:.2f} GB"
    return f"{size / MEGABYTE:.0f} MB"


def drawn_words(told: Mapping[str, Any]) -> str:
    """Numbers and sparing of a recipe, of figures or of a holding: "bf16, sliced and tiled"."""
    sparing = SPARING.get(str(told.get("memory") or ""), "")
    return ", ".join(word for word in (str(told.get("precision") or ""), sparing) if word)


def _ledger(device: Device) -> Ledger:
    try:
        return Ledger.from_dict(device.ledger)
    except TypeError:  # never told, or by a room of another version
        return Ledger(0, 0, unified=True)


def _silent(device: Device) -> bool:
    if device.heartbeat_at is None:
        return True
    return (timezone.now() - device.heartbeat_at).total_seconds() > settings.HEARTBEAT_SECONDS * 5


def _state(device: Device) -> str:
    if device.heartbeat_at is None:
        return "No worker has told anything yet."
    if device.room_pid is None:
        return "No engine room is open; the next request opens one."
    return f"Engine room {device.room_pid} on {device.kind}."


def _wishes(device: Device, ledger: Ledger) -> str:
    after = limit_of(device, "recycle_after")
    due = f"; replaced after {after}" if after else ""
    return f"{ledger.wishes} since this engine room opened{due}"


def _bars(
    device: Device, ledger: Ledger, holdings: tuple[Holding, ...], checkpoints: dict[str, Checkpoint]
) -> tuple[Bar, ...]:
    return (
        _memory_bar(device, ledger, holdings, checkpoints),
        _warm_bar(ledger, holdings),
        _creep_bar(device, ledger),
    )


def _memory_bar(
    device: Device, ledger: Ledger, holdings: tuple[Holding, ...], checkpoints: dict[str, Checkpoint]
) -> Bar:
    held = [(_title(one, checkpoints), one.device_bytes) for one in holdings if one.device_bytes]
    known = ledger.baseline + sum(size for _, size in held)
    work = max(device.memory_used - known, 0)
    free = max(ledger.budget - known - work, 0)
    parts = [("Engine room itself", ledger.baseline, "ledger-own")]
    parts += [(title, size, look) for (title, size), look in zip(held, cycle(SHADES), strict=False)]
    parts += [("Work and caches", work, "ledger-work"), ("Free", free, "ledger-free")]
    words = f"{amount(known + work)} of {amount(ledger.budget)} in use; the device has {amount(device.memory_total)}"
    return Bar("Memory of the device", words, _pieces(parts), legend=True)


def _warm_bar(ledger: Ledger, holdings: tuple[Holding, ...]) -> Bar:
    warm = sum(one.warm_bytes for one in holdings if one.tier == "warm")
    words = f"{amount(warm)} of {amount(ledger.warm_budget)} wait"
    words += ", as files that the system may take back" if ledger.unified else ""
    parts = [("Waiting", warm, "ledger-held-2"), ("Free", max(ledger.warm_budget - warm, 0), "ledger-free")]
    return Bar("Host memory", words, _pieces(parts))


def _creep_bar(device: Device, ledger: Ledger) -> Bar:
    limit = limit_of(device, "creep_limit_mb") * MEGABYTE
    words = f"{amount(ledger.creep)} since the baseline of {amount(ledger.baseline)}"
    words += f"; replaced above {amount(limit)}" if limit else "; never replaced for that"
    free = max(limit - ledger.creep, 0) if limit else MEGABYTE
    look = "ledger-bad" if limit and ledger.creep > limit else "ledger-work"
    return Bar(
        "Growth of the engine room", words, _pieces([("Growth", ledger.creep, look), ("Left", free, "ledger-free")])
    )


def _pieces(parts: list[tuple[str, int, str]]) -> tuple[Piece, ...]:
    seen = [(label, size, look) for label, size, look in parts if size >= LEAST]
    whole = max(sum(size for _, size, _ in seen), 1)
    return tuple(Piece(label, amount(size), round(100 * size / whole, 2), look) for label, size, look in seen)


def _title(holding: Holding, checkpoints: dict[str, Checkpoint]) -> str:
    known = checkpoints.get(holding.name)
    return known.title if known is not None else holding.name


def _row(holding: Holding, known: Checkpoint | None) -> Row:
    return Row(
        name=holding.name,
        title=known.title if known is not None else holding.name,
        where=WHERE[holding.tier],
        since=_moment(holding.since),
        device=amount(holding.device_bytes),
        host=amount(holding.warm_bytes),
        drawn_with=drawn_words({"precision": holding.precision, "memory": holding.memory}),
        in_use=holding.leases,
        used=_moment(holding.last_used),
        kept=known.keep_warm if known is not None else holding.keep_warm,
        known=known is not None,
    )


def _missing(checkpoint: Checkpoint) -> Row:
    """Kept warm, and not held yet."""
    name, title = checkpoint.name, checkpoint.title
    return Row(name, title, "not loaded", None, amount(0), amount(0), "", 0, None, kept=True, known=True)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
