"""The parts of a multipart answer (RFC 2046), one after another, in bounded memory.

An answer that ends without its closing delimiter was cut off, whatever the connection says.
"""

import re
from collections.abc import Iterator

from medssl.data.pacs.trouble import PassingError
from medssl.errors import DataError

_LONGEST_HEAD = 65536


def parts(content_type: str, chunks: Iterator[bytes]) -> Iterator[Iterator[bytes]]:
    """Yield every part as its chunks; what is left of a part when the next one is asked for is passed over.

    Args:
        content_type: The header of the answer; a single `application/dicom` is one part.
        chunks: The bytes of the answer.

    Raises:
        DataError: It is neither multipart nor DICOM.
        PassingError: The answer ends early.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/dicom":
        yield chunks
        return
    found = re.search(r'boundary=(?:"([^"]+)"|([^;\s]+))', content_type, re.IGNORECASE)
    if kind != "multipart/related" or not found:
        raise DataError(f"The PACS sends '{kind or 'nothing'}' where DICOM was asked for")
    delimiter = b"\r\n--" + (found[1] or found[2]).encode()
    source = _Source(chunks, b"\r\n")  # so that a delimiter at the very beginning is like all others
    for _ in source.until(delimiter):
        pass
    while source.take(2) != b"--":
        source.head()
        body = source.until(delimiter)
        yield body
        for _ in body:
            pass


class _Source:
    """Bytes that come in chunks, read up to a mark."""

    def __init__(self, chunks: Iterator[bytes], first: bytes) -> None:
        self._chunks, self._buffer = chunks, first

    def take(self, count: int) -> bytes:
        """Return so many bytes."""
        while len(self._buffer) < count:
            self._more()
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def head(self) -> None:
        """Pass over the header lines of a part."""
        self._buffer = b"\r\n" + self._buffer  # the end of the delimiter's line was taken
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > _LONGEST_HEAD:
                raise DataError("The PACS sends a part without a header")
            self._more()
        self._buffer = self._buffer.partition(b"\r\n\r\n")[2]

    def until(self, mark: bytes) -> Iterator[bytes]:
        """Yield the bytes before a mark, and pass over it; what may be the beginning of a mark is held back."""
        while True:
            at = self._buffer.find(mark)
            keep = len(self._buffer) - len(mark) + 1 if at < 0 else at
            if keep > 0:
                piece, self._buffer = self._buffer[:keep], self._buffer[keep:]
                yield piece
            if at >= 0:
                self._buffer = self._buffer[len(mark) :]
                return
            self._more()

    def _more(self) -> None:
        chunk = next(self._chunks, b"")
        if not chunk:
            raise PassingError("The answer of the PACS ended early")
        self._buffer += chunk
