"""Looks for canaries in bytes: as text of several encodings, in base64 and hex, as plain hashes, and unpacked."""

import base64
import gzip
import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow.parquet as pq

_STEMS = ("ZQCANARY", "ZQPATHXX", "ZQUSERXX")
_ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be")
_OTHERS = {  # what is no stem and a number
    "uid": rb"1\.2\.826\.0\.4711\.1\d{6}",
    "number": rb"(?<![0-9a-f.])71\d{5}93(?![0-9a-f])",
    "moment": rb"101112\.\d{6}",
    "day": rb"(?<![0-9a-f])17\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?![0-9a-f])",
    "iso day": rb"(?<![0-9a-f])17\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])(?![0-9a-f])",
}
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4}){12,}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def _patterns() -> list[re.Pattern[bytes]]:
    digits = [rb"\d{5}"]
    made = [re.compile(stem.encode() + digits[0], re.I) for stem in _STEMS]
    for encoding in _ENCODINGS[1:]:
        made += [re.compile(re.escape(stem.encode(encoding)) + b".{10}", re.S) for stem in _STEMS]
    for stem in _STEMS:
        made.append(re.compile(stem.encode().hex().encode() + rb"(?:3\d){5}", re.I))
        for offset in range(3):  # the part of the base64 that the neighbours cannot change
            coded = base64.b64encode(b"\0" * offset + stem.encode())
            made.append(re.compile(re.escape(coded[(4 if offset else 0) : (len(stem) + offset) // 3 * 4]) + b".{6}"))
    return made + [re.compile(pattern) for pattern in _OTHERS.values()]


PATTERNS = _patterns()


def found(data: bytes) -> set[str]:
    """Return what looks like a canary in bytes and in what they hold."""
    hits = set()
    for layer in layers(data):
        for pattern in PATTERNS:
            hits |= {plain(match[0]) for match in pattern.finditer(layer)}
    return hits


def plain(text: bytes) -> str:
    """Return a match as text, whichever encoding it was found in."""
    return text.replace(b"\0", b"").decode("latin-1")


def layers(data: bytes, depth: int = 0) -> Iterator[bytes]:
    """Yield bytes, and whatever is packed in them: archives, gzip, Parquet, text of PNG, base64."""
    yield data
    if depth > 3:
        return
    for inner in _packed(data):
        yield from layers(inner, depth + 1)
    for match in _BASE64.finditer(data):
        yield base64.b64decode(match[0] + b"=" * (-len(match[0]) % 4))


def _packed(data: bytes) -> Iterator[bytes]:
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield " ".join(archive.namelist()).encode()
            yield from (archive.read(name) for name in archive.namelist())
    elif data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    elif data[:4] == b"PAR1":
        table = pq.read_table(io.BytesIO(data))
        yield repr(table.schema.metadata).encode()
        for name in table.column_names:
            yield "\n".join(map(str, [name, *table[name].to_pylist()])).encode()
    elif data[:8] == b"\x89PNG\r\n\x1a\n":
        yield from _png_text(data)


def _png_text(data: bytes) -> Iterator[bytes]:
    at = 8
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + length]
        if kind in (b"zTXt", b"iCCP"):
            yield zlib.decompress(body.split(b"\0", 1)[1][1:])
        at += length + 12


def hashed(canaries: Iterable[str]) -> dict[str, str]:
    """Return {16 hexadecimal digits of a plain hash: canary}: what a list of patients could be tried out on."""
    kinds = (hashlib.md5, hashlib.sha1, hashlib.sha256, hashlib.sha512)
    made = {}
    for canary in canaries:
        data = canary.encode()
        digests = [kind(data).hexdigest() for kind in kinds]
        digests += [hashlib.blake2b(data, digest_size=size).hexdigest() for size in (8, 12, 16, 32, 64)]
        made |= {digest[:16]: canary for digest in digests}
    return made


def files_below(folder: Path) -> list[Path]:
    """Return every file below a folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
