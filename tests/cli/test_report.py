from pathlib import Path

import pytest
from typer.testing import CliRunner

from medssl.cli.main import build


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "settings.yaml").write_text("modality: oct\nmethod: mae\nbackbone: vit_nano\n")
    return folder


def _invoke(*arguments):
    return CliRunner().invoke(build(), ["report", *map(str, arguments)])


def test_the_path_is_printed(run):
    result = _invoke(run)
    assert result.exit_code == 0
    assert result.stdout.strip() == str(run / "report.html")
    assert (run / "report.html").read_text().startswith("<!doctype html>")


def test_another_place(run, tmp_path):
    result = _invoke(run, "-o", tmp_path / "new" / "page.html")
    assert result.exit_code == 0
    assert (tmp_path / "new" / "page.html").is_file()
    assert not (run / "report.html").exists()


def test_a_table_is_not_replaced_by_a_page(run, tmp_path):
    (tmp_path / "mine.csv").write_text("precious")
    result = _invoke(run, "-o", tmp_path / "mine.csv")
    assert result.exit_code == 2
    assert (tmp_path / "mine.csv").read_text() == "precious"


def test_a_place_below_a_file_is_one_sentence(run, tmp_path):
    (tmp_path / "file").write_text("precious")
    result = _invoke(run, "-o", tmp_path / "file" / "page.html")
    assert result.exit_code == 74
    assert "bug" not in result.output


def test_a_folder_that_is_not_there(tmp_path):
    result = _invoke(tmp_path / "nowhere")
    assert result.exit_code == 65
    assert "There is no such folder" in result.stderr
    assert "Traceback" not in result.output


def test_no_folder_is_a_usage_error():
    assert _invoke().exit_code == 2
