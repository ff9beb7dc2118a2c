"""Every reader, ours or a third party's, keeps the contract."""

import inspect

import pytest

from medssl import discovery
from medssl.data.columns import KNOWN
from medssl.data.readers import all_readers, read_image
from medssl.data.scan import scan

NAMES = discovery.names("data.readers")
EXAMPLES = {"dicom": "R16", "nifti": "R11", "raster": "R17"}


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_has_three_functions_and_takes_no_foreign_bytes(name):
    reader = all_readers()[name]
    assert list(inspect.signature(reader.sniff).parameters) == ["path", "head"]
    assert list(inspect.signature(reader.describe).parameters) == ["path"]
    assert list(inspect.signature(reader.read).parameters) == ["path", "frame"]
    for head in (b"", b"\0" * 4096, b"plain text\n" * 400, b"\xff" * 4096, b"PK\x03\x04" + bytes(100)):
        assert not reader.sniff(None, head)


@pytest.mark.parametrize("name", [n for n in NAMES if n in EXAMPLES])
def test_the_header_tells_the_shape_and_spacing_that_are_read(name, cases):
    found = scan([cases / EXAMPLES[name]])
    usable = found.usable().table
    assert set(usable["format"]) == {name}
    for _, row in usable.iterrows():
        image = read_image(found, row)
        axes = ("rows", "columns") if row["ndim"] == 2 else ("slices", "rows", "columns")
        assert image.array.shape == tuple(row[a] for a in ("channels", *axes))
        spacing = [row[f"{axis.removesuffix('s')}_spacing_mm"] for axis in axes]
        assert spacing == list(image.spacing_mm or spacing)
        assert image.provenance["path"]
        assert set(all_readers()[name].describe(found.path_of(row))[0]) <= {*KNOWN, "plane", "data_file"}
