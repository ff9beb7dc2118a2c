"""Counts in sentences: a number with its noun, and a verb that agrees."""

from collections.abc import Callable


def counted(number: int, one: str, many: str | None = None, *, written: Callable[[int], str] = str) -> str:
    """Return a number with what it counts: `1 image`, `3 images`; `1 image has`, `3 images have`.

    Args:
        number: At least 0.
        one: What follows 1.
        many: What follows every other number; `one` with an s if None.
        written: How the number is written, plainly if not said (`report.words.plural` has commas between thousands).

    Example:
        >>> counted(1, "series", "series"), counted(2, "image")
        ('1 series', '2 images')
    """
    return f"{written(number)} {one if number == 1 else many or one + 's'}"


def counted_of(number: int, total: int, noun: str, one: str, many: str) -> str:
    """Return a part of a total with a verb that agrees with the part: `1 of 3 images has`, `2 of 3 images have`."""
    return f"{number} of {counted(total, noun)} {one if number == 1 else many}"
