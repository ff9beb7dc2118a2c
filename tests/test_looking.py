"""`medssl.embed` and `medssl.attend`: what they return is what the commands write."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import medssl
from medssl.errors import DataError, SettingsError, StorageError
from tests.evaluation.conftest import write_cohort, write_run


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("looking")
    manifest = write_cohort(folder / "a", patients=3)
    return write_run(folder / "run", manifest), manifest


def test_features_and_their_rows(here, tmp_path):
    found = medssl.embed(*here, labels=["finding"], device="cpu", out=tmp_path / "f.parquet")
    assert (found.features.shape, found.features.dtype) == ((len(found.table), 16), np.float32)
    written = pd.read_parquet(tmp_path / "f.parquet")
    np.testing.assert_array_equal(np.stack(written["features"]), found.features)
    assert list(found.table["sample_id"]) == list(written["sample_id"])
    assert "finding" in found.table
    assert "path" not in found.table
    assert (found.path, found.page) == (tmp_path / "f.parquet", None)


def test_nothing_is_written_where_nothing_is_asked_for(here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = medssl.embed(*map(str, here), baseline="pixels", device="cpu")
    seen = medssl.attend(here[0], [here[1]], most=2)
    assert (found.path, found.page, seen.page) == (None, None, None)
    assert list(tmp_path.iterdir()) == []
    assert found.features.shape == (len(found.table), 256)


def test_features_and_attention_alone_need_no_matplotlib(here):
    code = (
        "import sys, medssl\n"
        "sys.modules['matplotlib'] = None\n"
        "run, data = sys.argv[1:]\n"
        "medssl.embed(run, data, device='cpu')\n"
        "medssl.attend(run, [data], most=1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, here)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_attention_of_each_head(here, tmp_path):
    seen = medssl.attend(here[0], [here[1]], most=2, query="class", out=tmp_path / "out")
    assert len(seen.images) == 2
    assert seen.query == "class"
    assert seen.page == tmp_path / "out" / "report.html"
    assert seen.page.exists()
    np.testing.assert_allclose(seen.images[0].heads.sum(axis=(1, 2)), 1, rtol=1e-5)
    with pytest.raises(StorageError, match="already"):
        medssl.attend(here[0], [here[1]], out=tmp_path / "out")


def test_no_image_is_no_page(here, tmp_path):
    for rows in ((), ["nobody"]):
        with pytest.raises(DataError, match=r"There is no image to look at\. Give image files"):
            medssl.attend(here[0], [], rows=rows, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_bad_input_is_one_sentence(here):
    with pytest.raises(SettingsError, match="no file is named"):
        medssl.embed(*here, maps=True)
    with pytest.raises(SettingsError, match="list of images"):
        medssl.attend(here[0], str(here[1]))
    for wrong in ({"keep": 0}, {"keep": 101}, {"most": 0}):
        with pytest.raises(SettingsError, match=r"keep in \(0, 100\] and most"):
            medssl.attend(here[0], [here[1]], **wrong)
