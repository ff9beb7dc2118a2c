from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl.data.columns import typed
from medssl.data.keys import AS_THEY_ARE
from medssl.data.manifest import Manifest
from medssl.data.scan import scan
from medssl.data.splits import (
    check_given_split,
    grouped_folds,
    held_out,
    nested_fractions,
    overlap,
    patient_keys,
    with_patients_known,
)
from medssl.errors import DataError


def manifest(patients: list, **columns) -> Manifest:
    base = {
        "sample_id": [f"s{k}" for k in range(len(patients))],
        "path": [f"{k}.png" for k in range(len(patients))],
        "status": "ok",
        "patient_id": patients,
    }
    return Manifest(typed(pd.DataFrame(base | columns)), Path(), "m")


@st.composite
def cohorts(draw):
    """Images of patients who have one class, the other, or both."""
    count = draw(st.integers(4, 25))
    kinds = [0, 1, 0, 1, *(draw(st.sampled_from([0, 1, 2])) for _ in range(count - 4))]
    labels, patients = [], []
    for number, kind in enumerate(kinds):
        for image in range(draw(st.integers(1, 4))):
            labels.append(float(image % 2 if kind == 2 else kind))
            patients.append(f"P{number}")
    order = draw(st.permutations(range(len(labels))))
    return np.array(labels)[order], np.array(patients, dtype=object)[order]


def test_patient_keys_hold_the_site_and_name_rows_without_a_patient():
    table = manifest(["1", "1", "2"], site=["A", "B", None]).table
    assert patient_keys(table).tolist() == ["A/1", "B/1", "2"]
    with pytest.raises(DataError, match=r"1 of 3 .* 1\.png.*image-is-patient"):
        patient_keys(manifest(["1", None, "2"]).table)


def test_held_out_is_by_patient_whatever_the_order_and_the_company():
    whole = manifest([f"P{k // 3}" for k in range(900)])
    mask = held_out(whole, 0.3)
    share = pd.Series(mask).groupby(patient_keys(whole.table)).mean()
    assert set(share) == {0.0, 1.0}
    assert 0.22 < share.mean() < 0.38
    half = whole.with_table(whole.table.iloc[::-1].iloc[:450])
    there = dict(zip(whole.table["sample_id"], mask))
    assert held_out(half, 0.3).tolist() == [there[s] for s in half.table["sample_id"]]


def test_held_out_takes_the_given_test_part_and_keeps_one_patient_on_each_side():
    given = manifest(["1", "2", "3"], split=["train", "test", "val"])
    assert held_out(given).tolist() == [False, True, False]
    for patients in (["a", "b"], ["c", "d"], ["e", "f"], ["g", "h"]):
        assert sorted(held_out(manifest(patients), 0.01)) == [False, True]
        assert sorted(held_out(manifest(patients), 0.99)) == [False, True]
    assert not held_out(manifest(["a", "b"]), 0).any()
    with pytest.raises(DataError, match="1 patient"):
        held_out(manifest(["a", "a"]))


def test_a_given_split_that_repeats_a_patient_is_refused(cases):
    found = scan([cases / "M05"], labels=cases / "M05" / "labels.csv", key=AS_THEY_ARE).usable()
    for use in (lambda: check_given_split(found.table), lambda: held_out(found)):
        with pytest.raises(DataError, match=f"{found.table['patient_id'][4]} in test and train"):  # P2 by its pseudonym
            use()
    own = found.with_table(typed(found.table.drop(columns="split")))
    parts = pd.Series(held_out(own)).groupby(patient_keys(own.table)).nunique()
    assert (parts == 1).all()


def test_too_few_patients_or_a_class_in_one_patient_is_an_error_with_both_numbers(cases):
    table = scan([cases / "M03"], labels=cases / "M03" / "labels.csv").usable().table
    labels, patients = table["label"].to_numpy(dtype=object).astype(str), patient_keys(table)
    with pytest.raises(DataError, match=r"5 folds need at least 5 patients, but there are 4"):
        grouped_folds(labels, patients, 5, seed=0)
    with pytest.raises(DataError, match=r"'rare' is known of 1 patient,.*2 parts"):
        grouped_folds(labels, patients, 2, seed=0)


@given(cohorts(), st.integers(0, 5))
@settings(deadline=None, max_examples=60)
def test_folds_share_no_patient_and_have_both_classes(cohort, seed):
    labels, patients = cohort
    folds = grouped_folds(labels, patients, 2, seed)
    assert sorted(np.concatenate(folds)) == list(range(len(labels)))
    assert not set(patients[folds[0]]) & set(patients[folds[1]])
    assert all(set(labels[fold]) == {0.0, 1.0} for fold in folds)
    back = np.arange(len(labels))[::-1]
    again = grouped_folds(labels[back], patients[back], 2, seed)
    assert [set(patients[f]) for f in folds] == [set(patients[back][f]) for f in again]


@given(cohorts(), st.integers(0, 5), st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_fractions_are_nested_whole_patients_with_both_classes_whatever_the_order(cohort, draw, seed):
    labels, patients = cohort
    drawn = nested_fractions(labels, patients, [30, 60, 100], draw, seed)
    assert set(drawn[30]) <= set(drawn[60]) <= set(drawn[100]) == set(range(len(labels)))
    for rows in drawn.values():
        rest = np.setdiff1d(np.arange(len(labels)), rows)
        assert not set(patients[rows]) & set(patients[rest])
        assert set(labels[rows]) == {0.0, 1.0}
    back = np.arange(len(labels))[::-1]
    again = nested_fractions(labels[back], patients[back], [30, 60, 100], draw, seed)
    assert all(set(patients[drawn[f]]) == set(patients[back][again[f]]) for f in drawn)


def test_fractions_are_stratified_by_patient_and_draws_differ():
    labels = np.repeat([1.0] * 20 + [0.0] * 60, 2)
    patients = np.repeat(np.arange(80).astype(str), 2).astype(object)
    drawn = [nested_fractions(labels, patients, [10], draw, 0)[10] for draw in range(4)]
    assert all(labels[rows].sum() == 4 and len(rows) == 16 for rows in drawn)
    assert len({tuple(rows) for rows in drawn}) == 4


def test_rows_without_a_label_are_in_no_fraction():
    labels = np.array([1.0, np.nan, 0.0, 0.0, np.nan])
    rows = nested_fractions(labels, np.array(list("aabbc"), dtype=object), [100], 0, 0)[100]
    assert rows.tolist() == [0, 2, 3]


def test_a_fraction_below_one_patient_is_an_error_with_both_numbers():
    labels, patients = np.array([1.0] * 10 + [0.0] * 200), np.arange(210).astype(str).astype(object)
    with pytest.raises(DataError, match=r"1 % of 10 positive patients is 0\.1.*5 % or more"):
        nested_fractions(labels, patients, [1, 100], 0, 0)
    with pytest.raises(DataError, match="one class"):
        nested_fractions(np.ones(4), np.array(list("abcd"), dtype=object), [100], 0, 0)


def test_overlap_names_patients_and_counts_equal_pixels():
    shared = overlap(["A/1", "A/2"], ["A/2", "B/1"], ["h1", "h2"], ["h2", "h3"])
    assert (shared.patients, shared.pixels) == (["A/2"], ["h2"])
    assert shared
    assert "1 patient (A/2) and 1 image with" in str(shared)
    assert not overlap(["a"], ["b"], ["x"], ["y"])


def test_images_without_a_patient_are_left_out_where_others_have_one():
    some, told = with_patients_known(manifest(["a", None, "b", None]))
    assert some.table["sample_id"].tolist() == ["s0", "s2"]
    assert told == ["2 of 4 images of 'm' have no patient_id and are left out: they could be of a test patient"]
    some, _ = with_patients_known(manifest(["a", None, None]), keep=np.array([False, True, False]))
    assert some.table["sample_id"].tolist() == ["s0", "s1"]
    for unchanged in (manifest(["a", "b"]), manifest([None, None])):
        assert with_patients_known(unchanged) == (unchanged, [])
