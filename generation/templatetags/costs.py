"""Amounts of the ledger in pages."""

from django import template

from generation.amounts import energy_words, money_words, seconds_words
from generation.models.usage import Cost

register = template.Library()
register.filter("seconds", seconds_words)


@register.filter
def cost_words(cost: Cost | None) -> str:
    """ "2.4 device-seconds, 0.12 Wh, 0.00004 EUR": what is known of it."""
    if cost is None or not cost.milliseconds:
        return ""
    words = [seconds_words(cost.seconds).replace(" s", " device-seconds")]
    words += [energy_words(cost.watt_hours)] if cost.millijoules else []
    words += [money_words(cost.money)] if cost.nano else []
    return ", ".join(words)
