"""How values read on a page: numbers, percentages, durations, and foreign text made safe to lay out.

An unknown is written as a word, never as a number. A space that must not break is U+00A0.
"""

import math
import unicodedata
from typing import Any, TypeGuard

from medssl.counting import counted

UNKNOWN = "unknown"
UNDEFINED = "undefined"
_SPACE = "\u00a0"
_MINUS = "\u2212"
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def known(value: Any) -> TypeGuard[float]:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any, digits: int = 3) -> str:
    """Write a number with `digits` decimals; `undefined` when it is none."""
    return f"{value:.{digits}f}".replace("-", _MINUS) if known(value) else UNDEFINED


def signed(value: Any, digits: int = 3) -> str:
    """Write a difference with its sign."""
    return f"{value:+.{digits}f}".replace("-", _MINUS) if known(value) else UNDEFINED


def significant(value: Any, digits: int = 3) -> str:
    """Write a number with `digits` significant digits, without an exponent where that is readable."""
    if not known(value):
        return UNDEFINED
    return f"{value:.{digits}g}".replace("-", _MINUS)


def interval(low: Any, high: Any, digits: int = 3) -> str:
    """Write an interval as `0.81 to 0.86`; without limits it is `no interval`."""
    if not (known(low) and known(high)):
        return "no interval"
    return f"{number(low, digits)} to{_SPACE}{number(high, digits)}"


def count(value: Any) -> str:
    """Write a whole number with commas between thousands."""
    return f"{int(value):,}" if known(value) else UNKNOWN


def percent(value: Any) -> str:
    """Write a value that is already in percent: `33 %`, `0.5 %`, `7.4 %`."""
    if not known(value):
        return UNDEFINED
    text = f"{value:.0f}" if value >= 10 or value == round(value) else f"{value:.1f}"
    return f"{text}{_SPACE}%"


def duration(seconds: Any) -> str:
    """Write a time the way a person says it: `42 s`, `14 min`, `3 h 20 min`, `2 d 4 h`."""
    if not known(seconds):
        return UNKNOWN
    whole = round(seconds)
    if whole < 2 * _MINUTE:
        return f"{whole}{_SPACE}s"
    if whole < 2 * _HOUR:
        return f"{round(whole / _MINUTE)}{_SPACE}min"
    if whole < 2 * _DAY:
        return f"{whole // _HOUR}{_SPACE}h {whole % _HOUR // _MINUTE}{_SPACE}min"
    return f"{whole // _DAY}{_SPACE}d {whole % _DAY // _HOUR}{_SPACE}h"


def plural(n: Any, one: str, many: str | None = None) -> str:
    """Write a count with its noun: `1 patient`, `1,204 patients`."""
    return counted(n, one, many, written=count)


def shortened(text: str, most: int) -> str:
    """Return the text, cut to `most` characters with an ellipsis."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def clean(text: str) -> str:
    """Replace what must not reach a page: control characters, lone surrogates, marks that reverse the reading order.

    A directional override lets a foreign name display as something else; a control character is not valid in SVG.
    """
    return "".join(character if _printable(character) else "\ufffd" for character in text)


def _printable(character: str) -> bool:
    if character in "\n\t":
        return True
    if 0x202A <= ord(character) <= 0x202E or 0x2066 <= ord(character) <= 0x2069:
        return False
    return unicodedata.category(character) not in ("Cc", "Cs") and ord(character) & 0xFFFE != 0xFFFE
