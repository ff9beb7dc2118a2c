"""PALETTE COLOR: stored values are numbers of entries in three tables, written out or as segments.

Written here because readers disagree on the hard ones: tables of big-endian files, entries of 8 bits in words of 16,
segments that repeat others, and white that is 0xFF00 in one file and 0xFFFF in the next (PS3.3 C.7.6.3.1.5, C.7.9.2).
"""

import numpy as np
from pydicom import Dataset

_COLOURS = ("Red", "Green", "Blue")
_MOST = 65536  # entries that a descriptor can count


def coloured(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Return the colours of stored values, (rows, columns) -> (rows, columns, 3).

    They are uint8 where 8 bits hold every entry (also those repeated in, or shifted into, the upper byte of a word),
    else uint16 of full scale.

    Raises:
        ValueError: A table is absent or too short, or its segments lead nowhere.
    """
    tables = [_table(dataset, colour) for colour in _COLOURS]
    if any(table.dtype == np.uint16 for table, _ in tables):
        tables = [(_as_words(table), first) for table, first in tables]
    values = stored.astype(np.int64)
    planes = [table[np.clip(values - first, 0, len(table) - 1)] for table, first in tables]
    colours = np.stack(planes, axis=-1)
    return (colours >> 8).astype(np.uint8) if _eight_bits(tables) else colours


def _table(dataset: Dataset, colour: str) -> tuple[np.ndarray, int]:
    """Return the entries of a colour, uint8 or uint16, and the stored value of the first."""
    descriptor = dataset.get(f"{colour}PaletteColorLookupTableDescriptor")
    if descriptor is None or len(descriptor) != 3:
        raise ValueError(f"there is no table for {colour.lower()}")
    entries, first, bits = (int(n) for n in descriptor)
    entries = entries % 65536 or 65536
    if dataset.get("PixelRepresentation") == 0:
        first %= 65536
    plain = dataset.get(f"{colour}PaletteColorLookupTableData")
    segmented = plain is None
    data = dataset.get(f"Segmented{colour}PaletteColorLookupTableData") if segmented else plain
    if data is None:
        raise ValueError(f"there is no table for {colour.lower()}")
    table = _words(data, dataset, wide=bits > 8 or (not segmented and len(data) >= 2 * entries))
    table = _expanded(table, 2 if bits > 8 else 1) if segmented else table
    if len(table) < entries:
        raise ValueError(f"the table for {colour.lower()} has {len(table)} of {entries} entries")
    table = table[:entries]
    return table.astype(np.uint8 if bits <= 8 and table.max() < 256 else np.uint16), first


def _words(data: object, dataset: Dataset, *, wide: bool) -> np.ndarray:
    """Return the numbers of a table: 16 bits in the order of the file, or bytes, which big-endian words swap."""
    big = dataset.original_encoding[1] is False
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray(data, dtype=np.int64))
    even = data[: len(data) // 2 * 2]
    if wide:
        return np.frombuffer(even, ">u2" if big else "<u2").astype(np.int64)
    return np.frombuffer(even, "<u2").byteswap().view(np.uint8) if big else np.frombuffer(data, np.uint8)


def _expanded(words: np.ndarray, width: int) -> np.ndarray:
    """Return the entries of a segmented table: runs (0), straight lines (1) and copies of earlier segments (2).

    Args:
        words: Numbers of the table, (n,).
        width: Bytes of a number; copies name their source in bytes.
    """
    found: list[int] = []
    _follow(words.tolist(), 0, None, found, width)
    return np.array(found[:_MOST], dtype=np.int64)


def _follow(words: list[int], at: int, times: int | None, found: list[int], width: int) -> None:
    """Append what the segments from word `at` on stand for: `times` of them, or all."""
    while at + 1 < len(words) and times != 0 and len(found) < _MOST:
        code, length = words[at], words[at + 1]
        if code == 0:
            found += words[at + 2 : at + 2 + length]
            at += 2 + length
        elif code == 1 and found and at + 2 < len(words):
            found += np.rint(np.linspace(found[-1], words[at + 2], length + 1))[1:].astype(int).tolist()
            at += 3
        elif code == 2 and times is None:
            _follow(words, _source(words[at + 2 : at + 6], width), length, found, width)
            at += 2 + 4 // width
        else:
            raise ValueError("the segments of a table cannot be followed")
        times = None if times is None else times - 1


def _source(words: list[int], width: int) -> int:
    """Return the number of the word that a copy begins at: two words or four bytes, the least significant first."""
    needed = 4 // width
    if len(words) < needed:
        raise ValueError("the segments of a table cannot be followed")
    return sum(word << (8 * width * place) for place, word in enumerate(words[:needed])) // width


def _as_words(table: np.ndarray) -> np.ndarray:
    return table if table.dtype == np.uint16 else table.astype(np.uint16) * np.uint16(257)


def _eight_bits(tables: list[tuple[np.ndarray, int]]) -> bool:
    """Return whether the upper byte says all: the lower one is always 0, or always the same."""
    entries = np.concatenate([table for table, _ in tables])
    if entries.dtype == np.uint8:
        return False
    return not (entries & 255).any() or bool(np.array_equal(entries & 255, entries >> 8))
