"""The ordinary settings, but a client that stops reading is given up after seconds."""

from config.settings import *  # noqa: F403

SOCKET_STALL_SECONDS = 4
