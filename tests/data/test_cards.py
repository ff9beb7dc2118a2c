"""Dataset cards: every card is valid, and a copy laid out as published becomes a right manifest."""

import re
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


def test_there_is_a_card_for_every_common_set():
    assert len(cards.names()) >= 50


@pytest.mark.parametrize("name", cards.names())
def test_every_card_is_valid(name):
    card = cards.load(name)
    assert card.modality in {*discovery.names("modalities"), *cards.WITHOUT_MODALITY}
    assert card.ood_partner != name
    assert card.ood_partner is None or card.ood_partner in cards.names()
    assert card.homepage.startswith(("https://", "http://medicaldecathlon.com"))
    assert all(text.strip() for text in (card.title, card.licence, card.citation))
    assert card.remarks
    assert all(rule.words or rule.contains or rule.others for rule in card.derived.values())
    assert card.not_adoptable or card.only or card.path_pattern


def test_what_is_declared_to_have_no_modality_has_none_and_is_some_cards():
    assert not set(cards.WITHOUT_MODALITY) & set(discovery.names("modalities"))
    assert set(cards.WITHOUT_MODALITY) <= {cards.load(name).modality for name in cards.names()}


@pytest.mark.parametrize("name", [name for name in cards.names() if cards.load(name).files])
def test_every_download_has_an_https_address_and_a_published_checksum(name):
    card = cards.load(name)
    assert card.access == "open"
    assert not all(entry.optional for entry in card.files.values())
    for file, entry in card.files.items():
        assert entry.url.startswith("https://")
        assert file in entry.url
        assert re.fullmatch("[0-9a-f]{32}", entry.md5)


def test_no_two_downloads_have_one_checksum():
    sums = [entry.md5 for name in cards.names() for entry in cards.load(name).files.values()]
    assert len(sums) == len(set(sums)) >= 70


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


def test_chexpert_joins_its_table_and_leaves_uncertain_labels_out(tmp_path: Path):
    root = tmp_path / "CheXpert-v1.0-small"
    rows = ["Path,Sex,No Finding,Pneumonia"]
    for patient, word in ((1, "1.0"), (2, "0.0"), (3, "-1.0"), (4, "")):
        name = f"train/patient0000{patient}/study1/view1_frontal.jpg"
        picture(root / name, patient)
        rows.append(f"CheXpert-v1.0-small/{name},Male,,{word}")
    rows[0] += ",Edema,Cardiomegaly,Pleural Effusion"
    (root / "train.csv").write_text("\n".join([rows[0], *(row + ",,," for row in rows[1:])]) + "\n")
    table = cards.adopt("chexpert", root).table.set_index("patient_id")
    found = table["pneumonia"].fillna("?").to_dict()
    assert found == {"00001": "yes", "00002": "no", "00003": "?", "00004": "?"}


def test_tables_that_name_images_without_their_ending_are_joined(tmp_path: Path):
    for k, name in enumerate(["0a", "0b"]):
        picture(tmp_path / "aptos" / "train_images" / f"{name}.png", k)
        picture(tmp_path / "isic" / "train" / f"ISIC_000000{k}.jpg", k)
    (tmp_path / "aptos" / "train.csv").write_text("id_code,diagnosis\n0a,0\n0b,3\n")
    assert cards.adopt("aptos-2019", tmp_path / "aptos").table["retinopathy"].tolist() == ["no", "yes"]
    (tmp_path / "isic" / "train.csv").write_text(
        "image_name,patient_id,sex,target\nISIC_0000000,IP_1,male,0\nISIC_0000001,IP_2,male,1\n"
    )
    table = cards.adopt("isic-2020", tmp_path / "isic").table
    assert table["melanoma"].tolist() == ["no", "yes"]
    assert table["patient_id"].tolist() == ["IP_1", "IP_2"]


@pytest.mark.parametrize(
    ("name", "file", "columns"),
    [
        ("cxr-shenzhen", "images/CHNCXR_0327_1.png", {"tuberculosis": "yes", "site": "shenzhen"}),
        ("cxr-montgomery", "MCUCXR_0001_0.png", {"tuberculosis": "no"}),
        ("mimic-cxr", "files/p10/p10000032/s50414267/02aa804e.jpg", {"patient_id": "10000032"}),
        ("chase-db1", "Image_01L.jpg", {"patient_id": "01", "laterality": "L"}),
        ("drive", "training/images/21_training.tif", {"part": "training"}),
    ],
)
def test_sets_are_understood_from_their_names(tmp_path: Path, name, file, columns):
    picture(tmp_path / file)
    (row,) = cards.adopt(name, tmp_path).table.to_dict("records")
    assert {column: row[column] for column in columns} == columns


@pytest.mark.parametrize(
    ("name", "path", "groups"),
    [
        ("cbis-ddsm", "Mass-Training_P_00001_LEFT_CC/1.2/1.3/000000.dcm", {"patient_id": "P_00001", "view": "CC"}),
        ("inbreast", "AllDICOMs/20586908_6c613a14b80a8591_MG_R_CC_ANON.dcm", {"laterality": "R", "view": "CC"}),
        ("brats-2021", "BraTS2021_00000/BraTS2021_00000_t1ce.nii.gz", {"patient_id": "BraTS2021_00000"}),
    ],
)
def test_patterns_fit_the_published_names(name, path, groups):
    card = cards.load(name)
    assert re.search(card.only, path)
    assert groups.items() <= re.search(card.path_pattern, path).groupdict().items()


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("cbis-ddsm", "Mass-Training_P_00001_LEFT_CC_1/1.2/1.3/000000.dcm"),
        ("brats-2021", "BraTS2021_00000/BraTS2021_00000_seg.nii.gz"),
        ("msd-liver", "Task03_Liver/labelsTr/liver_0.nii.gz"),
        ("msd-liver", "Task03_Liver/imagesTr/._liver_0.nii.gz"),
        ("chase-db1", "Image_01L_1stHO.png"),
    ],
)
def test_masks_and_crops_are_no_images(name, path):
    assert not re.search(cards.load(name).only, path)


def test_a_folder_that_is_no_copy_is_refused(tmp_path: Path):
    picture(tmp_path / "holiday.png")
    with pytest.raises(DataError, match="No file here belongs to 'oct-octdl'"):
        cards.adopt("oct-octdl", tmp_path)


def test_a_copy_without_its_label_table_is_refused_where_it_is_needed(tmp_path: Path):
    picture(tmp_path / "AMD" / "amd_1_1.jpg")
    with pytest.raises(DataError, match=r"label table of the set is not there.*labels\.csv"):
        cards.adopt("oct-octdl", tmp_path)


def test_a_set_that_cannot_be_read_says_why():
    with pytest.raises(DataError, match="'camelyon17' cannot be adopted"):
        cards.adopt("camelyon17", Path("anywhere"))


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
