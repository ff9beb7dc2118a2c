"""A recommendation of pairs that packing makes impossible is given up; a user's choice is refused."""

import numpy as np
import pytest
from PIL import Image

from medssl import files
from medssl.api import pretrain
from medssl.chance import Chance, key
from medssl.data.keys import AS_THEY_ARE
from medssl.data.scan import scan
from medssl.errors import DataError
from medssl.settings import merged
from medssl.training import runs

NAME = "simclr.positives"
RECOMMENDED = "patients are known: MICLe (Azizi et al. 2021)"


@pytest.fixture
def archive(tmp_path):
    """The manifest of a patient with two photographs and three with one, and the path of the first's second."""
    folder, rows = tmp_path / "archive", ["file,patient_id"]
    folder.mkdir()
    for i, patient in enumerate("AABCD"):
        pixels = Chance([key("photograph", i)]).uniform(0, 255, (24, 24, 3))[0].astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        rows.append(f"{i}.png,{patient}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    manifest = scan([folder], labels=folder / "labels.csv", key=AS_THEY_ARE)
    manifest.save(folder / "manifest.parquet")
    return folder / "manifest.parquet", folder / "1.png"


@pytest.fixture
def settings(small):
    del small["mae"]
    return merged(small, {"train": {"batch_size": 2}})


def seen(folder):
    """The choice as settings, choices and provenance have it, and the remarks that speak of it."""
    found = files.read_json(folder / runs.CHOICES)[NAME]
    remarks = [text for text in runs.record(folder)["remarks"] if "pairs" in text or "pair with" in text]
    return runs.read(folder / runs.SETTINGS)["simclr"]["positives"], found[0], remarks


def test_a_recommendation_holds_where_it_can_be_followed(archive, settings, tmp_path):
    run = pretrain("dermatology", "simclr", data=archive[0], settings=settings, out=tmp_path / "run")
    setting, choice, remarks = seen(run.folder)
    assert (setting, choice) == ("patient", "patient")
    assert remarks == ["3 of 5 images have no partner and pair with themselves"]


def test_a_recommendation_that_packing_made_impossible_is_given_up_and_told(archive, settings, tmp_path):
    archive[1].write_bytes(b"no image any more")
    run = pretrain("dermatology", "simclr", data=archive[0], settings=settings, out=tmp_path / "run")
    setting, choice, remarks = seen(run.folder)
    assert (setting, choice) == ("image", "image")
    (told,) = remarks
    assert "no two of the 4 images are such" in told


@pytest.mark.parametrize("lost", ["nothing", "what was given up"])
def test_a_run_that_gave_it_up_goes_on_and_still_says_so(archive, settings, tmp_path, lost):
    archive[1].write_bytes(b"no image any more")
    folder, told = tmp_path / "run", []
    asked = {"data": archive[0], "settings": merged(settings, {"train": {"checkpoint_minutes": 1e-6}})}

    def once_kept(kind, values):
        if kind == "step" and list((folder / runs.CHECKPOINTS).glob("step-*")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain("dermatology", "simclr", **asked, out=folder, progress=once_kept)
    if lost == "what was given up":  # as if it had ended between the first settings and these
        text = (folder / runs.SETTINGS).read_text().replace("positives: image", "positives: patient")
        (folder / runs.SETTINGS).write_text(text)
        choices = files.read_json(folder / runs.CHOICES)
        files.write_json(folder / runs.CHOICES, {**choices, NAME: ["patient", RECOMMENDED]})
    pretrain("dermatology", "simclr", **asked, out=folder, resume=True, progress=lambda *one: told.append(one))
    setting, choice, remarks = seen(folder)
    assert (setting, choice, len(remarks)) == ("image", "image", 1)
    assert any("nobody asked for" in values["text"] for kind, values in told if kind == "remark")


def test_a_choice_of_the_user_is_refused_with_a_sentence(archive, settings, tmp_path):
    archive[1].write_bytes(b"no image any more")
    asked = merged(settings, {"simclr": {"positives": "patient"}})
    with pytest.raises(DataError, match=r"(?s)no two of the 4 images are such.*positives=image"):
        pretrain("dermatology", "simclr", data=archive[0], settings=asked, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
