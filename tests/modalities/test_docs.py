"""The page on modalities says what is there, and its example runs."""

import re
from pathlib import Path

import nibabel as nib
import numpy as np
from typer.testing import CliRunner

from medssl import discovery
from medssl.cli.main import build
from medssl.modalities.parts import own

PAGE = (Path(__file__).parents[2] / "docs" / "modalities.md").read_text()


def test_every_modality_and_every_value_of_its_reading_stands_there() -> None:
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|$", PAGE.partition("| like | `reading` |")[2], re.MULTILINE)
    told = {name: set(re.findall(r"`(\w+)`", what)) for names, what in rows for name in re.findall(r"`(\w+)`", names)}
    known = {
        name: set(discovery.load("modalities", name).Reading.model_fields) for name in discovery.names("modalities")
    }
    assert told == known
    for name in known:
        assert re.search(rf"^## {name.title()}$", PAGE, re.MULTILINE)
        assert f"| `{name}` |" in PAGE


def test_the_example_runs(tmp_path: Path) -> None:
    text = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert text is not None
    path = tmp_path / "liver.yaml"
    path.write_text(text.group(1))
    kind = own.named(*own.read(path))
    assert (kind.title, kind.size, kind.recipe("strong").blur.probability) == ("CT of the liver", 64, 0)
    values = np.random.default_rng(0).normal(0, 300, (20, 20, 20)).astype(np.float32)
    nib.Nifti1Image(values, np.eye(4)).to_filename(tmp_path / "one.nii.gz")
    arguments = ["show-augment", "--modality", str(path), str(tmp_path / "one.nii.gz"), "-o", str(tmp_path / "v.png")]
    done = CliRunner().invoke(build(), [*arguments, "--set", "data.image_size=16", "--views", "3"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "v.png").stat().st_size > 1000
