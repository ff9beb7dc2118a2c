"""Names of people and files as nicknames, so that what is printed can be shown to others.

A nickname such as `p…3f1a` is a letter for the kind and 16 bits of a hash: enough to see that two rows are of one
patient, too little to tell which one it is. It is no anonymisation: pixels may show a name, and who holds a list of
all patients can rule most of them out.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import PurePosixPath

import pandas as pd

KINDS = {"patient_id": "p", "study_id": "s", "series_id": "e", "instance_id": "i", "path": "f"}
"""The columns that name somebody or something, each with the letter of its nicknames."""
_UID = re.compile(r"\b\d+(?:\.\d+){4,}\b")
_PLACE = re.compile(r"[^\s'\"(),;]*[/\\][^\s'\"(),;]+")
_WORD = re.compile(r"[^\s'\"(),;:]+")
_PLAIN = re.compile(r"[a-z]+|\d{1,3}|.{1,2}")  # words and counts that stand in any sentence


class Names:
    """How identifiers are written: as nicknames, or as they are."""

    def __init__(self, *, shown: bool, table: pd.DataFrame | None = None) -> None:
        """Take what to look for in sentences.

        Args:
            shown: Write identifiers as they are.
            table: Rows of a manifest, whose identifiers are masked in sentences, too.
        """
        self.shown = shown
        self._known = {} if shown or table is None else _known(table)
        self._spaced = [name for name in self._known if not _WORD.fullmatch(name)]

    def of(self, column: str, value: object) -> str:
        """Return an identifier as it is written.

        Example:
            >>> Names(shown=False).of("patient_id", "Smith")
            'p…b834'
        """
        return str(value) if self.shown else nickname(KINDS[column], str(value))

    def site(self, institution: str) -> str:
        """Return the name of an institution from a header as it is written."""
        return institution if self.shown else nickname("o", institution)

    def text(self, sentence: str) -> str:
        """Return a sentence with the identifiers in it as they are written."""
        if self.shown:
            return sentence
        for name in self._spaced:
            sentence = sentence.replace(name, nickname(self._known[name], name))
        sentence = _PLACE.sub(lambda found: nickname("f", found[0]), sentence)
        sentence = _UID.sub(lambda found: nickname("i", found[0]), sentence)
        return _WORD.sub(self._word, sentence)

    def _word(self, found: re.Match[str]) -> str:
        whole = found[0]
        for word in (whole, whole.rstrip(".")):
            if word in self._known:
                return nickname(self._known[word], word) + whole[len(word) :]
        return whole


def nickname(letter: str, value: str) -> str:
    """Return the letter, an ellipsis and four hexadecimal digits of the value's hash."""
    digest = hashlib.blake2b(value.encode("utf-8", "surrogateescape"), digest_size=2).hexdigest()
    return f"{letter}…{digest}"


def _known(table: pd.DataFrame) -> dict[str, str]:
    """Return identifiers and parts of paths with the letters of their kinds; of equal ones the first kind wins."""
    known: dict[str, str] = {}
    for column, letter in KINDS.items():
        values = table[column].dropna().astype(str).unique()
        for value in _parts(values) if column == "path" else values:
            if not _PLAIN.fullmatch(value) or (column != "path" and value.isalpha() and len(value) > 2):
                known.setdefault(value, letter)
    return known


def _parts(paths: Iterable[str]) -> set[str]:
    split = [PurePosixPath(path) for path in paths]
    return {part for path in split for part in (*path.parts, path.stem)}
