"""A modality as a file of values: what it changes, and what it refuses, with file and line."""

from pathlib import Path

import numpy as np
import pytest

from medssl.data.image import Image
from medssl.errors import DataError, SettingsError
from medssl.modalities import ct, oct
from medssl.modalities.parts import own

LIVER = """\
like: ct
title: CT of the liver
size: 64
reading:
  hounsfield: [-100, 250]
augment:
  blur: false
  strong:
    geometry: {rotation_degrees: 5}
    noise:
      strength: [0, 0.05]
recommends:
  mae.mask_ratio: 0.6
"""


def written(folder: Path, text: str, name: str = "liver.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_file_changes_values_and_leaves_the_rest(tmp_path: Path) -> None:
    kind = own.named(*own.read(written(tmp_path, LIVER)))
    assert (kind.name, kind.like, kind.title, kind.size) == ("liver", "ct", "CT of the liver", 64)
    assert (kind.channels, kind.spatial_dims, kind.dicom) == (1, 3, ("CT",))
    weak, strong = kind.recipe("weak"), kind.recipe("strong")
    assert strong.blur.probability == weak.blur.probability == 0
    assert strong.geometry.rotation_degrees == 5
    assert strong.geometry.crop_area == ct.MODALITY.recipe("strong").geometry.crop_area
    assert strong.noise.strength == (0, 0.05)
    assert weak.noise.probability == 0
    volume = Image(np.linspace(-1000, 1000, 512, dtype=np.float32).reshape(1, 8, 8, 8), (1.0,) * 3, units="HU")
    expected = ((volume.array + 100) / 350).clip(0, 1) * 65535
    np.testing.assert_allclose(kind.prepare(volume, 8), expected, atol=1)
    assert own.settings_of(own.read(tmp_path / "liver.yaml")[1]) == {"data.image_size": 64, "mae.mask_ratio": 0.6}


def test_windows_that_lie_beyond_what_is_stored_are_not_shown(tmp_path: Path) -> None:
    assert len(ct.MODALITY.recipe("strong").window.windows) == 3
    assert own.named(*own.read(written(tmp_path, LIVER))).recipe("strong").window.windows == ()


def test_what_changes_views_alone_shares_the_stores_of_the_other(tmp_path: Path) -> None:
    mild = own.named(*own.read(written(tmp_path, "like: oct\naugment: {speckle: false}\n", "mild.yaml")))
    assert mild.key_parts(64) == oct.MODALITY.key_parts(64)
    flat = own.named(*own.read(written(tmp_path, "like: oct\nreading: {flatten: true}\n", "flat.yaml")))
    assert flat.key_parts(64) != oct.MODALITY.key_parts(64)


def test_monai_transforms_come_first_and_make_another_store(tmp_path: Path) -> None:
    text = LIVER + "transforms:\n  - {name: ScaleIntensityRange, a_min: 0, a_max: 2, b_min: 0, b_max: 1}\n"
    kind = own.named(*own.read(written(tmp_path, text)))
    image = Image(np.linspace(0, 1, 27, dtype=np.float32).reshape(1, 3, 3, 3), spacing_mm=(1.0, 1.0, 1.0))
    np.testing.assert_allclose(kind.before(image).array, image.array / 2, rtol=1e-5)
    assert kind.key_parts(64) != own.named(*own.read(written(tmp_path, LIVER))).key_parts(64)
    with pytest.raises(SettingsError, match="ScaleIntensityRnge"):
        own.named(*own.read(written(tmp_path, text.replace("ScaleIntensityRange", "ScaleIntensityRnge"))))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("size: 64", "sizes: 64", ["'sizes'", "'size'", "line 3"]),
        ("size: 64", "size: 4", ["'size'", "line 3", "4"]),
        ("like: ct", "like: ctt", ["'ctt'", "Did you mean 'ct'?", "line 1"]),
        ("like: ct\n", "", ["'like'", "required"]),
        ("hounsfield: [-100, 250]", "hounsfeld: [-100, 250]", ["'reading.hounsfeld'", "'hounsfield'", "line 5"]),
        ("hounsfield: [-100, 250]", "hounsfield: [250, -100]", ["'reading.hounsfield'", "line 5"]),
        ("hounsfield: [-100, 250]", "hounsfield: livr", ["soft_tissue", "line 5"]),
        ("blur: false", "blurr: false", ["augment.blurr", "'blur'", "line 7"]),
        ("rotation_degrees: 5", "rotation_degrees: 500", ["rotation_degrees", "500", "line 9"]),
        ("strength: [0, 0.05]", "strength: [1, 0]", ["augment.noise.strength", "line 11"]),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        own.read(written(tmp_path, LIVER.replace(old, new)))
    for word in ["liver.yaml", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["ct.yaml", "my liver.yaml", "ünder.yaml"])
def test_a_name_that_is_taken_or_no_word_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="Rename the file"):
        own.read(written(tmp_path, LIVER, name))


def test_a_file_that_is_no_mapping_or_repeats_a_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="NAME: VALUE"):
        own.read(written(tmp_path, "- ct\n"))
    with pytest.raises(DataError, match="twice"):
        own.read(written(tmp_path, LIVER + "like: mr\n"))
