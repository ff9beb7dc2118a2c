"""Facts for people: names with what is said of them, wrapped to the terminal, whole lines anywhere else."""

import shutil
import sys
import textwrap
from collections.abc import Sequence

import typer

_INDENT = 15
_LEAST = 20


def say(facts: Sequence[tuple[str, str]]) -> None:
    """Print facts on standard output, without control characters of the files that they come from."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in lines(facts, width):
        typer.echo(line)


def lines(facts: Sequence[tuple[str, str]], width: int | None = None) -> list[str]:
    """Return a line a fact, or several where it is longer than the terminal is wide.

    Example:
        >>> lines([("rows", "3"), ("", "and more")])
        ['rows           3', '               and more']
    """
    result = []
    for name, said in facts:
        text = "".join(character if character.isprintable() else "?" for character in said)
        room = max(_LEAST, width - _INDENT) if width else None
        parts = textwrap.wrap(text, room, break_on_hyphens=False) if room else [text]
        for place, part in enumerate(parts or [""]):
            result.append(f"{name if place == 0 else '':<{_INDENT}}{part}".rstrip())
    return result
