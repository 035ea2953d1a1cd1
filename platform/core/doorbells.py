"""The name of each device's doorbell queue. Knows neither Django nor any device."""

DEFAULT_DEVICE = "main"
DEFAULT_QUEUE = "tessera"


def queue_of(device: str) -> str:
    """Of the device of this name; that of a single machine has django-q2's default queue."""
    return DEFAULT_QUEUE if device == DEFAULT_DEVICE else f"{DEFAULT_QUEUE}-{device}"
