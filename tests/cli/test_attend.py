"""`medssl attend`: pages and pictures of attention, 2D and 3D, and one sentence where there is none."""

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from medssl import backbones, files
from medssl.backbones.weights import export
from medssl.cli.main import build
from medssl.settings import dump_yaml
from tests.evaluation.conftest import TINY, write_cohort, write_run


def run(*arguments):
    return CliRunner().invoke(build(), ["attend", *map(str, arguments)])


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attend")
    manifest = write_cohort(folder / "a", patients=2)
    return write_run(folder / "run", manifest, everything=True), manifest


def other(run_folder, name, backbone, **settings):
    """A run with another backbone or modality."""
    folder = run_folder.parent / name
    (folder / "backbone").mkdir(parents=True)
    for file in ("provenance.json", "metrics.jsonl", "pretrained_on.parquet"):
        (folder / file).write_bytes((run_folder / file).read_bytes())
    values = {"modality": "oct", "method": "simclr", "backbone": backbone.name, "data": {"image_size": 16}} | settings
    files.write_text(folder / "settings.yaml", dump_yaml({**values, "train": {"seed": 0}}))
    export(backbone, folder / "backbone", {})
    return folder


def test_a_page_and_a_picture_an_image(here, tmp_path):
    done = run(*here, "-o", tmp_path / "out", "--most", 2)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["image-1.png", "image-2.png", "report.html"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<img ") == 2 * 7  # the image, two heads and their mean, and what is kept of the three
    assert "head 2, kept " in page
    assert not [name for name in ("p0-0", "p1-1", str(tmp_path), "<script") if name in page]
    assert "p0-0" not in done.output
    assert "wrote 2 pictures to " in done.output
    with Image.open(tmp_path / "out" / "image-1.png") as picture:
        assert picture.getbbox() is not None
    again = run(*here, "-o", tmp_path / "out")
    assert again.exit_code == 74


def test_an_image_file_needs_no_manifest(here, tmp_path):
    done = run(here[0], here[1].parent / "p0-0.png", "-o", tmp_path / "out", "--query", "class")
    assert done.exit_code == 0, done.output
    assert "wrote 1 picture to " in done.output
    assert "The class token asks" in (tmp_path / "out" / "report.html").read_text()


def test_of_a_volume_the_three_middle_planes(here, tmp_path):
    build_3d = {"in_channels": 1, "spatial_dims": 3, "image_size": 16}
    folder = other(here[0], "volumes", backbones.build("vit_nano", overrides=TINY, **build_3d), modality="mr")
    values = np.random.default_rng(0).integers(0, 900, (20, 18, 16)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "volume.nii.gz")
    done = run(folder, tmp_path / "volume.nii.gz", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<img ") == 3 * 7
    assert all(f"middle of the {axis}" in page for axis in ("slices", "rows", "columns"))


def test_a_cnn_says_why_not(here, tmp_path):
    overrides = {"stem_width": 8}
    folder = other(here[0], "cnn", backbones.build("resnet18", in_channels=1, image_size=16, overrides=overrides))
    done = run(folder, here[1], "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert "'resnet18' of this run has no attention maps of the whole image: only a ViT has" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--size", "20"], 2, "multiple of the patch"),
        (["--query", "cls"], 2, "--query"),
        (["--row", "nobody"], 2, "sample ids"),
        (["--where", "site == 'nowhere'"], 65, "None of 4 images"),
        (["--checkpoint", "best"], 65, "no best checkpoint"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(here, tmp_path, arguments, code, said):
    done = run(*here, "-o", tmp_path / "out", *arguments)
    assert done.exit_code == code, done.output
    assert said in done.stderr
    assert "Traceback" not in done.output
    assert not (tmp_path / "out").exists()


def test_files_that_are_no_images(here, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    for path, said in ((tmp_path / "notes.txt", "not an image"), (tmp_path / "nowhere.png", "no such file")):
        done = run(here[0], path, "-o", tmp_path / "out")
        assert done.exit_code == 65
        assert said in done.stderr
