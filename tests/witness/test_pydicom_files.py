"""Every DICOM file that pydicom ships, against DCMTK, SimpleITK, GDCM, pylibjpeg and pyjpegls."""

import json
from pathlib import Path

import pydicom
import pytest

from tests.witness.agreement import judge

pytestmark = [pytest.mark.witness, pytest.mark.timeout(0)]

# Where a witness says something else than we do, and who is right.
_RLE = "GDCM takes the bytes of RLE colour of more than 8 bits for another order; DCMTK and pylibjpeg agree with us"
EXPLAINED = {
    ("SC_rgb_rle_16bit.dcm", "sitk"): _RLE,
    ("SC_rgb_rle_16bit_2frame.dcm", "sitk"): _RLE,
    ("SC_rgb_rle_32bit.dcm", "sitk"): _RLE,
    ("SC_rgb_rle_32bit_2frame.dcm", "sitk"): _RLE,
    ("mlut_18.dcm", "sitk"): "GDCM does not apply a Modality LUT; DCMTK agrees with us",
}
# Why a file of pixels is refused; a witness that reads one is a fault of ours.
REFUSED = {
    "JPEG2000-embedded-sequence-delimiter.dcm": "Cannot decode pixels",  # made of a delimiter and rubbish
    "MR_truncated.dcm": "62 of 8192 bytes of pixel data are missing",
    "no_meta.dcm": "no image format known here",  # a stray first byte: no reader knows it
}
# Files that pydicom downloads on demand and no package brings: not looked at.
UNREACHABLE = {
    "HTJ2KLossless_08_RGB.dcm", "HTJ2K_08_RGB.dcm", "JLSL_RGB_ILV0.dcm", "JLSL_RGB_ILV1.dcm", "JLSL_RGB_ILV2.dcm",
    "JLSN_RGB_ILV0.dcm", "JLSL_08_07_0_1F.dcm", "JLSL_16_15_1_1F.dcm", "liver_nonbyte_aligned.dcm",
    "parametric_map_float.dcm", "parametric_map_double_float.dcm",
}  # fmt: skip


@pytest.fixture(scope="module")
def verdicts(pydicom_files, witness, tmp_path_factory):
    return judge(pydicom_files, witness, tmp_path_factory.mktemp("verdicts"))


def test_every_disagreement_is_explained(verdicts):
    found = {(v.path.name, name): how for v in verdicts if not v.refusal for name, how in v.differing.items()}
    assert {key: how for key, how in found.items() if key not in EXPLAINED} == {}
    assert EXPLAINED.keys() == found.keys(), "an explanation that nothing needs any more"


def test_every_file_that_is_read_has_a_witness_who_agrees(verdicts, record_property):
    read = [v for v in verdicts if not v.refusal]
    assert [v.path.name for v in read if not v.agreeing] == []
    figures = {name: sum(name in v.agreeing for v in read) for name in sorted({n for v in read for n in v.agreeing})}
    record_property("read", len(read))
    record_property("agreements", figures)
    print(f"\n{len(read)} files read, {sum(map(len, (v.agreeing for v in read)))} agreements {figures}")  # noqa: T201


def test_every_refusal_is_true(verdicts):
    refused = {v.path.name: v for v in verdicts if v.refusal}
    assert {name: list(v.differing) for name, v in refused.items() if v.differing} == {}
    for name, words in REFUSED.items():
        assert words in refused[name].refusal
    for verdict in [v for name, v in refused.items() if name not in REFUSED]:  # headers only
        if "no rows and columns" not in verdict.refusal:
            assert "there is no pixel data" in verdict.refusal
            assert b"\xe0\x7f\x10\x00" not in verdict.path.read_bytes()


def test_what_was_not_looked_at_is_known(pydicom_files):
    named = json.loads((Path(pydicom.__file__).parent / "data" / "urls.json").read_text())
    assert set(named) - {path.name for path in pydicom_files} == UNREACHABLE
