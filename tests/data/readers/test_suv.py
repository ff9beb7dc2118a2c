"""SUV from headers: closed forms, and everything that leaves it unknown."""

import json

import numpy as np
import pytest
from pydicom.dataset import Dataset

from medssl.data.readers import read_image
from medssl.data.readers.parts.suv import uptake
from medssl.data.scan import scan
from tests.phantom import pet


def test_a_dose_that_is_spread_evenly_over_the_body_has_the_value_1() -> None:
    found = uptake(pet.header())
    assert found.units == "BQML"
    assert found.scales["SUVbw"] * pet.EVEN == pytest.approx(1, rel=1e-9)
    assert found.remark is None


def test_one_half_life_doubles_the_factor_and_a_correction_to_the_injection_has_none() -> None:
    at_once = uptake(pet.header(RadiopharmaceuticalStartTime="100000", RadionuclideHalfLife=3600.0)).scales["SUVbw"]
    after_one = uptake(pet.header(RadiopharmaceuticalStartTime="090000", RadionuclideHalfLife=3600.0)).scales["SUVbw"]
    assert at_once == pytest.approx(70_000 / 350e6)
    assert after_one == pytest.approx(2 * at_once)
    assert uptake(pet.header(DecayCorrection="ADMIN")).scales["SUVbw"] == pytest.approx(70_000 / 350e6)


def test_midnight_and_dates_are_counted() -> None:
    over = pet.header(
        SeriesTime="003000", AcquisitionTime="003500", RadiopharmaceuticalStartDateTime="20240304233000.00"
    )
    assert uptake(over).scales["SUVbw"] * pet.EVEN == pytest.approx(1)


def test_a_series_that_was_made_later_is_reckoned_from_its_frames() -> None:
    """The mean count rate of a frame of 180 s lies a little before its middle; FrameReferenceTime tells it."""
    rate = np.log(2) / pet.HALF_LIFE_S
    times = np.linspace(0, 180, 2_000_001)
    mean_rate = np.exp(-rate * times).mean()
    when = -np.log(mean_rate) / rate
    header = pet.header(SeriesTime="150000", FrameReferenceTime=(300 + when) * 1000, ActualFrameDuration=180_000)
    assert when == pytest.approx(90, abs=0.5)
    assert uptake(header).scales["SUVbw"] * pet.EVEN == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"PatientWeight": None}, "no weight"),
        ({"PatientWeight": 0}, "no weight"),
        ({"RadionuclideTotalDose": None}, "no dose"),
        ({"RadionuclideHalfLife": None}, "no half-life"),
        ({"RadiopharmaceuticalStartTime": None}, "time of injection"),
        ({"RadiopharmaceuticalStartTime": "09"}, "time of injection"),
        ({"RadiopharmaceuticalStartTime": "110000"}, "-60 minutes before"),
        ({"RadiopharmaceuticalStartDateTime": "20230305090000"}, "minutes before the scan"),
        ({"DecayCorrection": "NONE"}, "to what time decay"),
        ({"DecayCorrection": None}, "to what time decay"),
        ({"CorrectedImage": ["DECY"]}, "not corrected for attenuation"),
        ({"CorrectedImage": None}, "attenuation and decay"),
        ({"SeriesTime": "150000"}, "start of the scan"),
        ({"AcquisitionTime": "120500"}, "begins 125 minutes before"),
        ({"Units": None}, "names no unit"),
        ({"Units": "PROPCPS"}, "PROPCPS"),
        ({"Units": "CNTS"}, "counts"),
    ],
)
def test_what_is_not_known_leaves_suv_unknown_with_the_reason(elements: dict[str, object], words: str) -> None:
    found = uptake(pet.header(**elements))
    assert found.scales == {}
    assert found.remark is not None
    assert words in found.remark
    assert found.units == elements.get("Units", "BQML")


def test_two_radiopharmaceuticals_are_no_dose() -> None:
    header = pet.header()
    header.RadiopharmaceuticalInformationSequence.append(Dataset())
    assert "2 radiopharmaceuticals" in str(uptake(header).remark)


def test_grams_per_millilitre_are_suv_already_unless_of_another_kind() -> None:
    assert uptake(pet.header(Units="GML", PatientWeight=None)).units == "SUVbw"
    lean = uptake(pet.header(Units="GML", SUVType="LBM"))
    assert (lean.units, lean.scales) == ("GML", {})


def test_counts_of_philips_have_their_factor_beside_them() -> None:
    header = pet.header(Units="CNTS")
    block = header.private_block(0x7053, "Philips PET Private Group", create=True)
    block.add_new(0x00, "DS", "0.5")
    assert uptake(header).scales == {"SUVbw": 0.5}
    block[0x00].value = "0"
    block.add_new(0x09, "DS", "3")
    assert uptake(header).scales["SUVbw"] * pet.EVEN == pytest.approx(3)


def test_a_series_keeps_becquerels_and_carries_its_factor_but_no_weight(tmp_path) -> None:
    values = pet.suv()
    manifest = scan([pet.write(tmp_path / "series", values, PatientWeight=71.375)])
    row = manifest.usable().table.iloc[0]
    assert (row["modality"], row["ndim"]) == ("PT", 3)
    image = read_image(manifest, row)
    assert image.units == "BQML"
    assert image.remarks == []
    np.testing.assert_allclose(image.array[0] * image.scales["SUVbw"], values * 71.375 / 70, atol=2e-3)
    told = json.dumps([image.provenance, row.astype(str).tolist()], default=str)
    assert "71.375" not in told
    assert "350000000" not in told


def test_slices_that_disagree_leave_it_unknown(tmp_path) -> None:
    folder = pet.write(tmp_path / "series", pet.suv())
    heavier = pet.write(tmp_path / "other", pet.suv(), PatientWeight=80)
    (heavier / "003.dcm").replace(folder / "003.dcm")
    manifest = scan([folder])
    image = read_image(manifest, manifest.usable().table.iloc[0])
    assert image.scales == {}
    assert "different factors" in image.remarks[0]
