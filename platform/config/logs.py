"""What the log keeps quiet about. Drops or softens single lines, and decides nothing else."""

import logging

# Django tells under these names, at ERROR and with a traceback, what a client sent: too long a form, a refused lookup.
CLIENT_MISTAKES = "django.security."


def is_no_probe(record: logging.LogRecord) -> bool:
    """ "Not ready yet" is an answer, not an error."""
    return getattr(getattr(record, "request", None), "path", "") != "/readyz"


def calm_down(record: logging.LogRecord) -> bool:
    """A mistake of the client is one line of warning; false when not even that is wanted."""
    if record.name.startswith(CLIENT_MISTAKES) and record.levelno >= logging.ERROR:
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.exc_info = record.exc_text = None
    return record.levelno >= logging.getLogger().level
