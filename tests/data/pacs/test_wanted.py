"""What a PACS is asked for, and that its answer is held against it."""

import pytest

from medssl.data.pacs.wanted import Series, Wanted, parse_dates
from medssl.errors import SettingsError

CT = Series("1.2", "1.2.3", patient_id="MRN-7", study_date="20240105", modality="CT", instances=5, accession="A1")


def test_questions_are_all_combinations_and_one_without_conditions():
    wanted = Wanted(patients=("a", "b"), modalities=("CT", "MR"), dates=("20240101", ""))
    asked = list(wanted.questions())
    assert len(asked) == 4
    assert {"PatientID": "b", "ModalitiesInStudy": "MR", "StudyDate": "20240101-"} in asked
    assert list(Wanted().questions()) == [{}]
    assert Wanted().everything
    assert Wanted(where="instances > 3").everything, "the PACS itself is asked for everything"
    assert not wanted.everything


@pytest.mark.parametrize(
    ("wanted", "meets"),
    [
        (Wanted(), True),
        (Wanted(patients=("mrn-7",)), True),
        (Wanted(patients=("MRN-?",)), True),
        (Wanted(patients=("MRN-77", "x")), False),
        (Wanted(patients=("MRN-[7]",)), False),
        (Wanted(modalities=("MR",)), False),
        (Wanted(dates=("20240105", "20240105")), True),
        (Wanted(dates=("20240106", "")), False),
        (Wanted(dates=("", "20240104")), False),
        (Wanted(studies=("1.2",)), True),
        (Wanted(studies=("1.3",)), False),
        (Wanted(accessions=("A1",)), True),
        (Wanted(accessions=("A2",)), False),
    ],
)
def test_an_answer_is_held_against_every_condition(wanted, meets):
    assert wanted.meets(CT) is meets


def test_a_study_without_a_date_is_in_no_range():
    assert not Wanted(dates=("20240101", "")).meets(Series("1", "2"))


def test_where_chooses_series():
    dx = Series("1.2", "1.2.4", modality="DX", instances=None)
    assert Wanted(where="modality == 'CT' and instances >= 5").chosen([CT, dx]) == [CT]
    assert Wanted(where="instances > 5").chosen([CT, dx]) == []
    with pytest.raises(SettingsError, match="did you mean 'modality'"):
        Wanted(where="modalty == 'CT'")


@pytest.mark.parametrize(
    "given",
    [
        {"patients": ("a\\b",)},
        {"patients": (" ",)},
        {"modalities": ("ct",)},
        {"studies": ("../x",)},
        {"accessions": ("",)},
    ],
)
def test_values_that_mean_something_else_are_refused(given):
    with pytest.raises(SettingsError):
        Wanted(**given)


def test_days():
    assert parse_dates("2024-01-31..2024-02-29") == ("20240131", "20240229")
    assert parse_dates("20240131") == ("20240131", "20240131")
    assert parse_dates("20240131-") == ("20240131", "")
    assert parse_dates("-20240131") == ("", "20240131")
    assert parse_dates(None) == ("", "")
    for bad in ("", "-", "2024", "20240230", "20240201-20240131", "tomorrow"):
        with pytest.raises(SettingsError, match="study-date"):
            parse_dates(bad)
