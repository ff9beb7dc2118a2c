"""Fixtures of the whole suite: real data and generated cases, where a machine has them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# The suite says what happens on a CPU, wherever it runs; `make test-gpu` asks for the tests of a GPU.
if os.environ.get("MEDSSL_TEST_GPU") != "1":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

_BESIDE = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real image sets; tests that use it are skipped where it is absent."""
    folder = Path(os.environ.get("MEDSSL_REAL_DATA", _BESIDE / "data"))
    if not folder.is_dir():
        pytest.skip("no real data here; set MEDSSL_REAL_DATA to the folder of image sets")
    return folder


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated files of reported faults with their `expected.json`; skipped where the generator is absent."""
    generator = Path(os.environ.get("MEDSSL_CASES", _BESIDE / "cases")) / "make_cases.py"
    if not generator.is_file():
        pytest.skip("no case generator here; set MEDSSL_CASES to its folder")
    folder = tmp_path_factory.mktemp("cases")
    subprocess.run([sys.executable, str(generator), str(folder)], check=True, capture_output=True)
    return folder
