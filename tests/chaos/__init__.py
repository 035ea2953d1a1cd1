"""Chaos: a real portal whose processes are killed, again and again, and what must hold after each time."""
