"""The one base of errors that a person may see. Knows no app."""


class TesseraError(Exception):
    """An expected failure: a stable `code`, a sentence for the person, and what to do next."""

    code = "error"
    status = 400

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class NotAllowedError(TesseraError):
    """The person may see the thing but not do this with it."""

    code = "not_allowed"
    status = 403
