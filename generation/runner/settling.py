"""What becomes of a request whose drawing ended with an error: canceled, queued again, or failed with a reason."""

import logging

from core.outage import is_full
from generation.engines.errors import CheckpointError, DeviceMemoryError, EngineError
from generation.fitting import others_fit
from generation.models import Device, GenerationRequest
from generation.presence import others_held, others_hold
from generation.services.checkpoints import checkpoint_disable
from generation.services.devices import device_refuses
from generation.services.transitions import (
    LeaseLostError,
    request_end_lease,
    request_fail,
    request_give_back,
    request_stop,
)

logger = logging.getLogger(__name__)


def settle(
    request: GenerationRequest, error: Exception, *, stopping: bool, canceled: bool, seconds: float = 0.0
) -> None:
    """Write the outcome; `seconds` are charged when it was canceled.

    Raises LeaseLostError when somebody else owns the request, DatabaseError when it cannot.
    """
    if isinstance(error, LeaseLostError):
        raise error
    if canceled:
        request_stop(request=request, seconds=seconds)
    elif stopping:
        request_give_back(request=request)
    elif isinstance(error, EngineError):
        _settle_engine(request, error)
    elif isinstance(error, OSError) or is_full(error):
        _settle_files(request, error)
    else:
        logger.error("Request %s met a fault of ours", request.pk, exc_info=error)
        _fail(
            request, "internal_error", "Something went wrong inside Tessera.", "The log of the worker has the reason."
        )


def _settle_engine(request: GenerationRequest, error: EngineError) -> None:
    logger.warning("Request %s, attempt %d: %s %s", request.pk, request.attempt, error.code, error.message)
    if isinstance(error, CheckpointError):
        if request.device is not None and others_held(request.device, request.checkpoint):
            _settle_elsewhere(request, request.device)
            return
        logger.error("Checkpoint %s cannot be used", request.checkpoint)
        checkpoint_disable(checkpoint=request.checkpoint, reason=error.message)
    if error.retryable or (isinstance(error, DeviceMemoryError) and others_fit(request)):
        request_end_lease(request=request, code=error.code, message=error.message, hint=error.hint)
    else:
        _fail(request, error.code, error.message, error.hint)


def _settle_elsewhere(request: GenerationRequest, device: Device) -> None:
    """It cannot be loaded here, but others have it: they draw it, or it fails alone while they are away for long."""
    waited_for = others_hold(device, request.checkpoint)
    device_refuses(device=device, checkpoint=request.checkpoint)
    if waited_for:
        request_give_back(request=request)
        return
    message = f"No device that is there has the files of the checkpoint “{request.checkpoint}”."
    _fail(request, "checkpoint_nowhere", message, "Try again when the one that has them is back, or ask an operator.")


def _settle_files(request: GenerationRequest, error: Exception) -> None:
    logger.error("Request %s: %s", request.pk, error)
    if is_full(error):
        message = "The disk is full, so the picture could not be kept."
        _fail(request, "disk_full", message, "Ask an operator to make room, then try again.")
    else:
        reason = getattr(error, "strerror", None) or type(error).__name__
        _fail(request, "files_unusable", f"A file could not be read or written: {reason}.", "Tell an operator.")


def _fail(request: GenerationRequest, code: str, message: str, hint: str) -> None:
    request_fail(request=request, code=code, message=message, hint=hint)
