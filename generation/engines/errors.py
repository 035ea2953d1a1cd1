"""What can go wrong in an engine, each with a stable code, a sentence, a hint and whether trying again may help."""

import logging
from traceback import format_exception
from typing import Literal, TypeVar

logger = logging.getLogger(__name__)

E = TypeVar("E", bound="EngineError")
Part = Literal["network", "decoder"]  # whose numbers failed


class EngineError(Exception):
    """Base of the expected failures of engines and the room."""

    code = "engine_error"
    retryable = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InvalidParamsError(EngineError):
    """The wish cannot be drawn as asked (size, count, steps ...)."""

    code = "invalid_params"


class UnknownFamilyError(EngineError):
    """No engine for this family."""

    code = "unknown_family"


class CheckpointError(EngineError):
    """The checkpoint folder is missing, corrupt or of a kind that is not allowed."""

    code = "checkpoint_unusable"


class FilesUnavailableError(EngineError):
    """This machine could not read a checkpoint's files just now; they may well be sound."""

    code = "files_unavailable"
    retryable = True


class DeviceError(EngineError):
    """The device asked for does not work here, or does not any more."""

    code = "device_unusable"
    retryable = True


class DeviceMemoryError(EngineError):
    """The device has not enough memory, even after a purge. `loading`: not even for the weights."""

    code = "out_of_memory"
    loading = False


class InvalidNumbersError(EngineError):
    """The network, or its picture decoder, gave values that are not finite."""

    code = "not_finite"

    def __init__(self, message: str, *, hint: str = "", part: Part = "network") -> None:
        super().__init__(message, hint=hint)
        self.part = part


class BlankPictureError(EngineError):
    """The network drew one single colour: the mark of numbers that went wrong without becoming infinite."""

    code = "blank_picture"


class RoomError(EngineError):
    """The engine room crashed, hung or broke the protocol. The next request gets a fresh room."""

    code = "room_lost"
    retryable = True


class RoomStalledError(RoomError):
    """The room gave no sign of progress for too long and was killed."""

    code = "room_stalled"


class SigningError(EngineError):
    """A picture cannot be signed: something is wrong with the certificate, its key, or the library refused."""

    code = "cannot_sign"


class CanceledError(EngineError):
    """The request was canceled while it was drawn."""

    code = "canceled"


def forget_trace(error: E) -> E:
    """The error alone, to be kept: its traceback would keep tensors alive, so it goes into the log as mere text."""
    if not isinstance(error, CanceledError):
        logger.warning("%s", "".join(format_exception(error)).rstrip())
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error
