"""Dataset cards: every card is valid, and a copy laid out as published becomes a right manifest."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medssl import discovery
from medssl.data import cards
from medssl.errors import DataError, SettingsError


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 20), np.uint8)).save(path)


@pytest.mark.parametrize("name", cards.names())
def test_every_card_is_valid(name):
    card = cards.load(name)
    assert card.modality == "mixed" or card.modality in {*discovery.names("modalities"), "fundus", "mr"}
    assert card.ood_partner is None or card.ood_partner in cards.names()
    assert card.homepage.startswith("http")
    assert all(rule.words or rule.contains or rule.others for rule in card.derived.values())


def test_unknown_card_gives_the_nearest():
    with pytest.raises(SettingsError, match=r"Unknown dataset 'oct-octld'\. Did you mean 'oct-octdl'"):
        cards.load("oct-octld")


def test_kermany_oct_is_understood_from_its_file_names(tmp_path: Path):
    for k, name in enumerate(
        ["test/CNV/CNV-1016042-1.jpeg", "train/NORMAL/NORMAL-55-2.jpeg", "train/DME/DME-9-1.jpeg"]
    ):
        picture(tmp_path / name, k)
    (tmp_path / "README.txt").write_text("hello")
    manifest = cards.adopt("oct-kermany", tmp_path)
    table = manifest.table.set_index("label")
    assert table["patient_id"].to_dict() == {"CNV": "1016042", "NORMAL": "55", "DME": "9"}
    assert table["disease"].to_dict() == {"CNV": "yes", "NORMAL": "no", "DME": "yes"}
    assert table["dme"].isna().to_dict() == {"CNV": True, "NORMAL": False, "DME": False}
    assert set(table["site"]) == {"kermany-oct"}
    assert "1 of 4 files in the folder are not part of the set" in manifest.remarks


def test_chestx_ray14_joins_its_table_and_finds_pneumonia_among_findings(tmp_path: Path):
    for k, name in enumerate(["images_001/images/00000001_000.png", "images_002/images/00000002_003.png"]):
        picture(tmp_path / name, k)
    picture(tmp_path / "images_002/images/00000003_000.png", 3)
    (tmp_path / "Data_Entry_2017.csv").write_text(
        "Image Index,Finding Labels,Patient ID,View Position\n"
        "00000001_000.png,Cardiomegaly|Pneumonia,1,PA\n00000002_003.png,No Finding,2,AP\n00000003_000.png,Mass,3,PA\n"
    )
    table = cards.adopt("chestx-ray14", tmp_path).table.set_index("patient_id")
    assert table["pneumonia"].fillna("?").to_dict() == {"00000001": "yes", "00000002": "no", "00000003": "?"}
    assert table["view"].tolist() == ["PA", "AP", "PA"]


def test_a_folder_that_is_no_copy_is_refused(tmp_path: Path):
    picture(tmp_path / "holiday.png")
    with pytest.raises(DataError, match="No file here belongs to 'oct-octdl'"):
        cards.adopt("oct-octdl", tmp_path)


def test_a_copy_without_its_label_table_is_refused_where_it_is_needed(tmp_path: Path):
    picture(tmp_path / "AMD" / "amd_1_1.jpg")
    with pytest.raises(DataError, match=r"label table of the set is not there.*labels\.csv"):
        cards.adopt("oct-octdl", tmp_path)


def test_a_set_that_cannot_be_read_says_why():
    with pytest.raises(DataError, match=r"octmnist.*\.npz"):
        cards.adopt("octmnist", Path("anywhere"))


@pytest.mark.parametrize(
    ("name", "images", "patients", "label", "positive"),
    [
        ("oct-octdl", 1995, 726, "disease", 1668),
        ("oct-kermany", 1000, 633, "disease", 750),
        ("cxr-pneumonia-nih", 1000, 682, "pneumonia", 500),
    ],
)
def test_real_copies_are_adopted(real_data, name, images, patients, label, positive):
    manifest = cards.adopt(name, real_data / name).usable()
    assert len(manifest) == images
    assert manifest.table["patient_id"].nunique() == patients
    assert (manifest.table[label] == "yes").sum() == positive
    assert not [r for r in manifest.remarks if "no patient_id" in r]


def test_a_copy_of_another_set_is_refused_by_its_names_and_by_its_table(tmp_path: Path):
    for k, name in enumerate(["train/NORMAL/IM-0115-0001.jpeg", "test/PNEUMONIA/person1_virus_6.jpeg"]):
        picture(tmp_path / "children" / name, k)
    with pytest.raises(DataError, match="another set: 0 of 2 files are named as those of 'cxr-pneumonia-nih'"):
        cards.adopt("cxr-pneumonia-nih", tmp_path / "children")
    for k, name in enumerate(["DME/DME-9-1.jpeg", "DRUSEN/DRUSEN-3-1.jpeg"]):
        picture(tmp_path / "kermany" / name, k)
    (tmp_path / "kermany" / "labels.csv").write_text(
        "file,label\nDME/DME-9-1.jpeg,DME\nDRUSEN/DRUSEN-3-1.jpeg,DRUSEN\n"
    )
    with pytest.raises(DataError, match=r"names 1 files here that are not part of this one, such as DRUSEN"):
        cards.adopt("oct-octdl", tmp_path / "kermany")
