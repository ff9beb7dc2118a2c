"""Parts of an answer, however it is cut into chunks, and what is no whole answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medssl.data.pacs.multipart import parts
from medssl.data.pacs.trouble import PassingError
from medssl.errors import DataError

TYPE = 'multipart/related; type="application/dicom"; boundary=bound'


def message(bodies, preamble=b"", end=b"--\r\n"):
    made = preamble
    for body in bodies:
        made += b"\r\n--bound\r\nContent-Type: application/dicom\r\n\r\n" + body
    return made + b"\r\n--bound" + end


def chunked(data, size):
    return iter([data[k : k + size] for k in range(0, len(data), size)])


def read(data, size=7, kind=TYPE):
    return [b"".join(part) for part in parts(kind, chunked(data, size))]


@given(st.lists(st.binary(max_size=60).filter(lambda body: b"--bound" not in body), max_size=4), st.integers(1, 40))
def test_every_chunking_gives_the_same_parts(bodies, size):
    assert read(message(bodies), size) == bodies


def test_bodies_that_nearly_hold_the_delimiter():
    bodies = [b"\r\n--boun", b"--bound", b"\r\n\r\n", b"\r\n--bouncer\r\n"]
    for size in range(1, 30):
        assert read(message(bodies), size) == bodies


def test_the_first_delimiter_may_begin_the_message_and_a_preamble_is_passed_over():
    assert read(message([b"a", b"b"])[2:]) == [b"a", b"b"]
    assert read(message([b"a"], preamble=b"this is multipart")) == [b"a"]


def test_a_part_that_is_not_read_is_passed_over():
    assert [
        b"".join(part) if k else b"" for k, part in enumerate(parts(TYPE, chunked(message([b"x" * 99, b"y"]), 8)))
    ] == [
        b"",
        b"y",
    ]


def test_every_cut_is_noticed():
    whole = message([b"abc", b"defg"])
    for length in range(len(whole) - 4):  # without the last line's end it is complete
        got: list[bytes] = []
        with pytest.raises(PassingError, match="ended early"):
            got.extend(b"".join(part) for part in parts(TYPE, chunked(whole[:length], 5)))
        assert got == [b"abc", b"defg"][: len(got)], "no part is handed over that was cut"


@pytest.mark.parametrize(
    "kind", ['Multipart/Related; boundary="bound"; type="application/dicom"', "multipart/related;boundary=bound"]
)
def test_forms_of_the_content_type(kind):
    assert read(message([b"a"]), kind=kind) == [b"a"]


def test_a_single_instance_without_multipart_is_one_part():
    assert read(b"DICM", kind="application/dicom; transfer-syntax=*") == [b"DICM"]


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "", "multipart/related"])
def test_other_answers_are_refused(kind):
    with pytest.raises(DataError, match="where DICOM was asked for"):
        read(message([b"a"]), kind=kind)


def test_a_part_without_end_of_its_header_is_refused():
    with pytest.raises(DataError, match="without a header"):
        read(b"\r\n--bound\r\n" + b"x" * 200_000, size=5000)
