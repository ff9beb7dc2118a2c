"""What `medssl scan` suggests comes from the modalities' own files."""

import pandas as pd
import pytest

from medssl.cli.scan import _modality
from medssl.data.columns import typed
from medssl.data.manifest import Manifest


@pytest.mark.parametrize(
    ("words", "guess"),
    [
        ([("PT", 3)], "pet"), ([("CT", 3), ("CT", 3)], "ct"), ([("DX", 2), ("CR", 2)], "cxr"),
        ([("MG", 2)], "mammography"),
        ([("SM", 2)], "histology"), ([("OPT", 2)], "oct"), ([("OP", 2)], "fundus"), ([("US", 2)], "ultrasound"),
    ],
)  # fmt: skip
def test_dicom_words_of_one_modality_name_it(tmp_path, words, guess):
    assert _modality(manifest_of(tmp_path, words)) == guess


@pytest.mark.parametrize("words", [[("CT", 2)], [("CT", 3), ("MR", 3)], [("XA", 2)], [(None, 2)]])
def test_anything_else_leaves_the_choice(tmp_path, words):
    assert _modality(manifest_of(tmp_path, words)).startswith("[ct or cxr or ")


def manifest_of(folder, words):
    rows = [
        {"sample_id": f"{k:016x}", "path": f"{k}.dcm", "format": "dicom", "status": "ok", "modality": w, "ndim": n}
        for k, (w, n) in enumerate(words)
    ]
    return Manifest(typed(pd.DataFrame(rows)), folder, "m", ())
