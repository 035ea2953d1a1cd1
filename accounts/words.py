"""What a line of the audit trail says to people. The other floors write the verbs; here is only how they read."""

WORDS = {
    ("looked at", "image"): "Looked at a picture",
    ("looked at", "generation request"): "Looked at a request",
    ("created", "person"): "Made an account",
    ("changed", "person"): "Changed an account",
    ("member.add", "project"): "Let a person into a project",
    ("member.role", "project"): "Changed a role in a project",
    ("member.remove", "project"): "Removed a person from a project",
    ("request.cancel", "request"): "Canceled a request",
    ("request.retry", "request"): "Put a request into the queue again",
    ("checkpoint.enable", "checkpoint"): "Switched a checkpoint on",
    ("checkpoint.disable", "checkpoint"): "Switched a checkpoint off",
    ("request.promote", "request"): "Put a request before all others",
    ("request.demote", "request"): "Let a request wait its turn again",
    ("quota.change", "person"): "Changed how much a person may draw",
    ("quota.change", "project"): "Changed how much may be drawn in a project",
    ("device.costs", "device"): "Changed what a device costs",
    ("device.drain", "device"): "Let a device finish and take nothing more",
    ("device.pause", "device"): "Paused a device",
    ("device.resume", "device"): "Let a device draw again",
    ("device.unload", "device"): "Unloaded the checkpoints of a device",
    ("device.restart", "device"): "Restarted the engine room of a device",
    ("device.limits", "device"): "Changed what a device may use of memory",
    ("checkpoint.keep_warm", "checkpoint"): "Kept a checkpoint warm, or let it go",
    ("checkpoint.precision", "checkpoint"): "Chose the numbers of a checkpoint",
    ("checkpoint.forget_memory", "checkpoint"): "Forgot what was learnt of a checkpoint's memory",
}


def deed(verb: str, kind: str) -> str:
    """In words. A verb that is not known here is read as it is."""
    known = WORDS.get((verb, kind))
    return known or f"{verb} {kind}".replace(".", " ").capitalize()
