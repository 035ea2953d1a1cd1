"""Django-free engines, usable from a notebook. Only the room, and what it loads, imports torch."""
