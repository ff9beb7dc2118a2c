"""Published results follow from the tables of predictions that are kept beside them."""

import shutil
from pathlib import Path

import pytest

from medssl import files
from medssl.evaluation.conclusion import FACTS, PREDICTIONS, RESULTS, rebuild

PUBLISHED = sorted(path.parent for path in (Path(__file__).parents[1] / "docs" / "results").rglob(FACTS))


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: "-".join(folder.parts[-2:]))
def test_published_results_are_those_of_their_predictions(folder, tmp_path):
    for name in (FACTS, PREDICTIONS):
        shutil.copy(folder / name, tmp_path)
    assert rebuild(tmp_path)[1] == files.read_json(folder / RESULTS)


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: "-".join(folder.parts[-2:]))
def test_published_files_name_no_place_of_a_machine(folder):
    for path in folder.glob("*.json"):
        assert '"/' not in path.read_text(), path  # no text that begins like an absolute path
