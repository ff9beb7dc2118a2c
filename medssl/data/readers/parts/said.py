"""What a library said of a file, without what it quotes from it: a value that cannot be parsed may be a person's name.

Only words of a fixed list, numbers, and tags come through; whatever else a message holds becomes an ellipsis.
"""

import re

_QUOTED = re.compile(r"b?'[^']*'|b?\"[^\"]*\"|`[^`]*`|<[^>]*>")
_NUMBER = re.compile(r"[-+]?(?:0x[0-9a-f]{1,8}|[0-9]{1,10}(?:\.[0-9]{1,6})?)|\(?[0-9a-f]{4},\s?[0-9a-f]{4}\)?")
_WORDS = frozenset(
    """
    a after all allocated an and any are array as at attack attribute axes axis bad bands base be before beyond bit
    bits bomb box broken buffer but by byte bytes can cannot checksum chunk code codec color colour compressed
    compression contents convert corrupt corrupted could crc damaged data dataset decode decoded decoder decoding
    decompress decompressing decompression dimension dimensions does dos element empty encapsulated encoded encoding
    end ended eof error exceed exceeds expected explicit failed few field file find float floating format found fragment
    fragments frame frames from gave got greater group gzip header header's height identify image implicit in
    incompatible incomplete incorrect index insufficient int integer interval invalid is it item items jpeg large
    length less limit lossless mapping marker match matching maximum memory metadata mismatch missing mode more must
    no non not number object of offset on one only opening operands or order out output overflow packed padding page
    parsed parse parsing photometric pixel pixels plane planes png point position possible premature processed raster
    read reader reading reached reason representation required reshape returned rle rows sample samples seek
    segment segments sequence shape short should size sizes small start starting stream string strip supported syntax
    tag than that the there this tiff tile to too transfer truncated type unable unexpected unknown unpack
    unrecognized unsupported until used using valid value values version when while whole width with within without
    would writing wrong xy zero zip zlib available entries exceptions followed has imagecodecs pillow plugins pyjpegls
    raised table were
    """.split()  # noqa: SIM905 (a list of words is read as words)
)


def said(error: BaseException) -> str:
    """Return the first line of an error's text with what it quotes left out, or the error's kind where little is left.

    Where that line only introduces what others say (it ends in a colon), the last of them is told.

    Example:
        >>> said(ValueError("could not convert string to float: 'Doe^Jane'"))
        'could not convert string to float: …'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    line = plain(lines[-1] if lines[0].endswith(":") else lines[0])
    return line if re.search(r"[a-z]{2}", line) else type(error).__name__


def plain(text: str) -> str:
    """Return a sentence with every word that is not on the list as an ellipsis."""
    words = [_word(word) for word in _QUOTED.sub("…", text).split()]
    return re.sub(r"…(?:[\s…,.;:]*…)+", "…", " ".join(words))


def _word(word: str) -> str:
    core = word.strip(".,;:()[]{}!?")
    known = not core or core.lower() in _WORDS or _NUMBER.fullmatch(core.lower())
    return word if known else "…" + (word[-1] if word[-1] in ":;,." else "")
