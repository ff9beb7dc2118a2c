"""Witnesses, where a machine has them: each missing one is named in the skip, or fails where they were asked for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest
from pydicom import uid
from pydicom.pixels import get_decoder


def _absent(why: str) -> None:
    (pytest.fail if "MEDSSL_WITNESS" in os.environ else pytest.skip)(why)


def _needed(*names):
    missing = [name for name in names if not shutil.which(name)]
    if missing:
        _absent(f"no {', '.join(missing)} here; `make test-witness` installs dcmtk and dcm2niix")


@pytest.fixture(scope="session")
def witness() -> str:
    """The interpreter that has SimpleITK, GDCM and pylibjpeg: this one, or MEDSSL_WITNESS; DCMTK must be there, too."""
    _needed("dcmj2pnm", "dcml2pnm")
    python = os.environ.get("MEDSSL_WITNESS", sys.executable)
    asked = subprocess.run(
        [python, "-c", "import gdcm, openjpeg, rle, jpeg_ls, SimpleITK"], capture_output=True, check=False
    )
    if asked.returncode:
        _absent("python-gdcm, pylibjpeg or pyjpegls is not installed; `make test-witness` installs them")
    return python


@pytest.fixture(scope="session")
def dcm2niix() -> str:
    """The converter."""
    _needed("dcm2niix")
    return "dcm2niix"


@pytest.fixture(scope="session")
def pydicom_files(witness) -> list[Path]:
    """Every file that pydicom ships, and those of the package pydicom-data where the witnesses have it."""
    asked = (
        "import importlib.util as u; s = u.find_spec('data_store'); print(s.submodule_search_locations[0] if s else '')"
    )
    extra = subprocess.run([witness, "-c", asked], check=True, capture_output=True, text=True).stdout.strip()
    roots = [Path(pydicom.__file__).parent / "data", *([Path(extra) / "data"] if extra else [])]
    files = [path for root in roots for path in sorted(root.rglob("*")) if path.is_file()]
    return [path for path in files if path.suffix not in (".py", ".pyc", ".json", ".md", ".txt")]


@pytest.fixture(scope="session", autouse=True)
def only_our_plugins():
    """Decode as an installation of ours does, whatever plug-ins this one has besides."""
    taken = []
    for syntax in uid.AllTransferSyntaxes:
        try:
            decoder = get_decoder(syntax)
        except NotImplementedError:
            continue
        for name in {"gdcm", "pylibjpeg"} & set(decoder.available_plugins):
            taken.append((decoder, name, decoder._available.pop(name)))
    yield
    for decoder, name, plugin in taken:
        decoder._available[name] = plugin
