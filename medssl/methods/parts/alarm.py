"""What a method's own terms look like when it has collapsed."""

from typing import NamedTuple


class Alarm(NamedTuple):
    """A term of the loss that lies in a range for long only where nothing is learnt any more.

    Attributes:
        term: Its name among what the method's forward returns.
        low: The range's lower end, itself included.
        high: Its upper end, itself included.
        meaning: What that says, as the end of a sentence: "as where all outputs are alike".
        fix: What to change.
    """

    term: str
    low: float
    high: float
    meaning: str
    fix: str
