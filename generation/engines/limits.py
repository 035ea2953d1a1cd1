"""How much memory the engine room may hold, and how long. Zero means: measured, or never. No torch, no Django."""

from dataclasses import dataclass

MEBIBYTE = 1024 * 1024
GIBIBYTE = 1024 * MEBIBYTE
LARGEST_RESERVE = 2 * GIBIBYTE
CREEP_LIMIT = GIBIBYTE  # bytes by which a room may grow, beside its checkpoints, before it is due for a new process
RESERVED_PART = 8  # of what a device has, one such part stays free for others, at most LARGEST_RESERVE


@dataclass(frozen=True, slots=True)
class Limits:
    """`budget` and `reserve` are of the device, `warm` is of checkpoints that wait in host memory; all in bytes.

    `most` checkpoints are on the device at once, 0 for as many as fit. What nobody used for `idle_seconds` is laid
    aside, and forgotten after as long again.
    """

    budget: int = 0
    reserve: int = 0
    warm: int = 0
    most: int = 0
    idle_seconds: float = 0.0

    def device_budget(self, total: int) -> int:
        """What the room may hold of a device that has `total`: never more than is there without the reserve."""
        reserve = self.reserve or min(total // RESERVED_PART, LARGEST_RESERVE)
        most = max(total - reserve, 0)
        return min(self.budget, most) if self.budget else most

    def warm_budget(self, host_total: int, *, unified: bool) -> int:
        """Of a host that has `host_total`.

        Where host and device are one, what waits is no more than pages of files, which the system takes back by
        itself when it needs them; so the whole is allowed. Elsewhere it may be pinned, so it is half.
        """
        return self.warm or (host_total if unified else host_total // 2)


NO_LIMITS = Limits()
