import pandas as pd
import pytest
from typer.testing import CliRunner

from medssl.cli.main import build
from medssl.data.columns import typed
from medssl.data.manifest import Manifest


@pytest.fixture
def places(tmp_path):
    def write(name):
        rows = [
            {"sample_id": f"{n}", "path": f"{name}/{n}.png", "status": "ok", "patient_id": f"{n}"} for n in range(5)
        ]
        Manifest(typed(pd.DataFrame(rows).assign(site=name)), tmp_path, name).save(tmp_path / f"{name}.parquet")
        return str(tmp_path / f"{name}.parquet")

    return [write("north"), write("south")]


def join(*arguments):
    return CliRunner().invoke(build(), ["join", *arguments])


def test_two_places_become_one_manifest(places, tmp_path):
    done = join(*places, "-o", str(tmp_path / "both.parquet"))
    assert done.exit_code == 0, done.output
    assert "2 sites" in done.output
    assert len(Manifest.load(tmp_path / "both.parquet")) == 10


def test_what_is_there_is_not_written_over(places):
    before = Manifest.load(places[0]).content_hash()
    assert join(*places, "-o", places[0]).exit_code != 0
    assert Manifest.load(places[0]).content_hash() == before
