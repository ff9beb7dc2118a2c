"""What a stranger installs: the wheel holds everything, and works without the repository."""

import configparser
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The wheel, built from a copy (building leaves files behind) and unpacked as pip would."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    copy.mkdir()
    for name in ("medssl", "pipelines", "datasets_manifest"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, copy]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_every_package_on_disk_is_listed():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    found = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "medssl").rglob("__init__.py")}
    assert listed == found | {"medssl_pipelines", "medssl_datasets"}


def test_wheel_holds_code_recipes_cards_and_templates(installed: Path):
    inside = {p.relative_to(installed).as_posix() for p in installed.rglob("*") if p.is_file()}
    for suffix in ("*.py", "*.j2", "*.css", "py.typed"):
        missing = {p.relative_to(ROOT).as_posix() for p in (ROOT / "medssl").rglob(suffix)} - inside
        assert not missing
    assert "medssl_pipelines/quick.yaml" in inside
    assert {f"medssl_datasets/{p.name}" for p in (ROOT / "datasets_manifest").glob("*.yaml")} <= inside


def test_the_installed_wheel_finds_recipes_and_cards(installed: Path, tmp_path: Path):
    code = (
        "import medssl, medssl_pipelines, medssl_datasets; from medssl import stages; from medssl.data import cards\n"
        "print(medssl.__file__, medssl_pipelines.__file__); stages.load('quick'); cards.load('octmnist')"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment, cwd=tmp_path
    )
    assert found.returncode == 0, found.stderr
    assert all(part.startswith(str(installed)) for part in found.stdout.split())


def test_the_editable_install_finds_recipes_and_cards(tmp_path: Path):
    code = "from medssl import stages; from medssl.data import cards; print(stages.names(), len(cards.names()))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "quick" in found.stdout


def test_nothing_copyleft_is_required():
    """GPL packages must not come in with the required set (docs/architecture.md)."""
    required = configparser.ConfigParser()
    required.read(ROOT / "setup.cfg")
    text = required["options"]["install_requires"].lower()
    for package in ("pylibjpeg-libjpeg", "torchvision", "timm", "hadolint"):
        assert package not in text


def test_every_requirement_is_pinned():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    wanted = config["options"]["install_requires"].split() + config["options.extras_require"]["dev"].split()
    names = {w.split(">")[0].split("=")[0].lower().replace("_", "-") for w in wanted}
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().split()}
    assert names <= pinned


def test_code_names_no_machine_and_no_pickle():
    for file in [*(ROOT / "medssl").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        text = file.read_text()
        for word in (
            "/home/",
            "/Users/",
            "yaml.load(text, Loader=yaml.Loader",
            "shell=True",
            "extractall",
            "pickle.load",
        ):
            assert word not in text, f"{word} in {file.name}"
