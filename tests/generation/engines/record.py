"""Which classes of the libraries the tests of this run have really drawn with; told at the end of the run."""

_drawn: set[str] = set()


def drawn(class_name: str) -> None:
    """A picture came from a network of this class, read from disk by its engine."""
    _drawn.add(class_name)


def names() -> list[str]:
    """All of them, sorted."""
    return sorted(_drawn)
