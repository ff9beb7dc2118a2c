"""Trouble that may pass: a server that is busy, hangs, or ends in the middle of an answer."""

from pathlib import Path

from medssl.errors import StorageError


class PassingError(StorageError):
    """Asking again later may help."""

    def __init__(
        self, what: str, *, where: str | Path | None = None, fix: str | None = None, after: float | None = None
    ) -> None:
        """Keep the parts, and how many seconds the server wants to be left alone, where it said so."""
        super().__init__(what, where=where, fix=fix or "Repeat the command to go on")
        self.after = after


def waiting(attempt: int, after: float | None = None) -> float:
    """Return the seconds to wait before another try: 1, 2, 4 and so on to 60, or what the server asked for.

    Args:
        attempt: How many tries have failed in a row, from 1.
        after: What the server asked for, in seconds; more than ten minutes are not waited.
    """
    own = min(2.0 ** (attempt - 1), 60.0)
    return own if after is None else min(max(own, after), 600.0)
