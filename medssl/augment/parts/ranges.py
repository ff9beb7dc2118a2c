"""Types of settings that say from where to where a parameter is drawn."""

from typing import Annotated

from pydantic import AfterValidator, Field

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] <= value[1]:
        raise ValueError("a range goes from its lower to its upper end")
    return value


def _positive(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] > 0:
        raise ValueError("both ends of this range are above 0")
    return value


def _share(value: tuple[float, float]) -> tuple[float, float]:
    if not (value[0] >= 0 and value[1] <= 1):
        raise ValueError("both ends of this range are between 0 and 1")
    return value


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
PositiveRange = Annotated[Range, AfterValidator(_positive)]
Share = Annotated[Range, AfterValidator(_share)]
