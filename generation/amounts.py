"""Amounts in words: device-seconds, watt-hours, money. As many digits as tell something, and no more."""

import math

from django.conf import settings

from generation.models.usage import Cost

DIGITS = 3


def seconds_words(seconds: float) -> str:
    """1234.5 -> "1,234.5 s", 0.042 -> "0.042 s"; to the tenth, below one to the thousandth."""
    words = f"{seconds:,.1f}" if seconds >= 1 else f"{seconds:.3f}"
    return (words.rstrip("0").rstrip(".") or "0") + " s"


def energy_words(watt_hours: float) -> str:
    """0.0123 -> "0.0123 Wh", 1234.5 -> "1.23 kWh"."""
    return f"{_digits(watt_hours / 1000)} kWh" if watt_hours >= 1000 else f"{_digits(watt_hours)} Wh"


def money_words(money: float) -> str:
    """0.000123 -> "0.000123 EUR", 12.3456 -> "12.35 EUR"."""
    return f"{money:,.2f} {settings.CURRENCY}" if money >= 1 else f"{_digits(money)} {settings.CURRENCY}"


def cost_words(cost: Cost | None) -> str:
    """ "2.4 device-seconds, 0.12 Wh, 0.00004 EUR": what is known of it; nothing when nothing was charged."""
    if cost is None or not cost.milliseconds:
        return ""
    words = [seconds_words(cost.seconds).removesuffix(" s") + " device-seconds"]
    words += [energy_words(cost.watt_hours)] if cost.millijoules else []
    words += [money_words(cost.money)] if cost.nano else []
    return ", ".join(words)


def _digits(value: float) -> str:
    """Three that count; whole ones are never cut off."""
    if not value:
        return "0"
    places = max(DIGITS - 1 - math.floor(math.log10(abs(value))), 0)
    words = f"{value:,.{places}f}"
    return words.rstrip("0").rstrip(".") if "." in words else words
