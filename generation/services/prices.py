"""What a device costs while it draws: watts and prices, by its row or else by the settings. Reads only."""

from dataclasses import dataclass
from decimal import Decimal

from django.conf import settings

from generation.models import Device
from generation.models.usage import NANO, Cost

# A price per kWh times millijoules, or a price per hour times milliseconds: both are this much smaller than asked.
MILLIJOULES_PER_KWH = 3_600_000_000
MILLISECONDS_PER_HOUR = 3_600_000


@dataclass(frozen=True, slots=True)
class Prices:
    """Watts while drawing; billionths of the currency per hour of the device and per kWh. 0 is: not set."""

    watts: int = 0
    hour: int = 0
    kwh: int = 0

    def cost(self, milliseconds: int) -> Cost:
        """Of drawing for so long; money rounded to the nearest billionth."""
        energy = self.watts * milliseconds
        part = MILLIJOULES_PER_KWH // MILLISECONDS_PER_HOUR
        money = self.hour * milliseconds * part + self.kwh * energy
        return Cost(milliseconds, energy, (money + MILLIJOULES_PER_KWH // 2) // MILLIJOULES_PER_KWH)


def prices_of(device: Device | None) -> Prices:
    """As they are now."""
    watts = device.watts if device is not None else None
    hour = device.price_per_hour if device is not None else None
    return Prices(
        watts=settings.WATTS if watts is None else watts,
        hour=_nano(settings.PRICE_PER_DEVICE_HOUR if hour is None else hour),
        kwh=_nano(settings.PRICE_PER_KWH),
    )


def _nano(price: Decimal) -> int:
    return int(price * NANO)
