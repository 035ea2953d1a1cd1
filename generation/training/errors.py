"""What can go wrong in a training that nobody has to read a traceback for: a code, a sentence, what to do next."""

import errno

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# torch and safetensors write from C++ and Rust, where only these words are left of the system's error.
FULL_WORDS = ("no space left", "file write failed", "inline_container", "pytorchstreamwriter", "unexpected pos")


class TrainingError(Exception):
    """An expected failure. `exit_code`: 2 when the wish or the machine's setup is wrong, 1 when the training failed."""

    def __init__(self, code: str, message: str, *, hint: str = "", exit_code: int = 1) -> None:
        super().__init__(f"{message} {hint}".strip())
        self.code = code
        self.message = message
        self.hint = hint
        self.exit_code = exit_code


def is_full(error: BaseException) -> bool:
    """Whether the disk, or what this user may have of it, is full."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in FULL:
            return True
        if any(word in str(seen).lower() for word in FULL_WORDS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
