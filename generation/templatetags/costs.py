"""Amounts of the ledger in pages."""

from django import template

from generation.amounts import cost_words, energy_words, money_words, seconds_words

register = template.Library()
register.filter("seconds", seconds_words)
register.filter("energy", energy_words)
register.filter("money", money_words)
register.filter("cost_words", cost_words)
