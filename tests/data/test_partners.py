"""Positive pairs of two images: who may be whose partner, who is kin, and that neither order nor past changes it."""

import numpy as np
import pandas as pd
import pytest

from medssl.data import partners
from medssl.data.columns import typed
from medssl.data.loader import Loader
from medssl.errors import DataError
from tests.data.test_loader import held


def table(**columns):
    """Return a manifest's table of as many rows as the columns have."""
    count = len(next(iter(columns.values())))
    names = [f"s{k}" for k in range(count)]
    basic = {"sample_id": names, "path": [f"{name}.dcm" for name in names], "format": ["dicom"] * count}
    return typed(pd.DataFrame({**basic, **columns}))


def pairs(seen, kind, epochs=40, rows=None, distance=1):
    """Return for each image the set of partners that it has over many epochs."""
    rows = np.arange(len(seen)) if rows is None else np.array(rows)
    found = partners.find(seen, rows, kind, distance)
    contents = seen["sample_id"].iloc[rows].tolist()
    drawn = [found.of(rows, contents, seed=0, epoch=epoch) for epoch in range(epochs)]
    return {int(row): set(map(int, column)) for row, column in zip(rows, np.stack(drawn).T)}


def test_partners_are_the_other_images_of_the_patient_at_one_site():
    seen = table(patient_id=["a", "a", "b", "a", None, None, "a"], site=["x", "x", "x", "x", "x", "x", "y"])
    assert pairs(seen, "patient") == {0: {1, 3}, 1: {0, 3}, 2: {2}, 3: {0, 1}, 4: {4}, 5: {5}, 6: {6}}
    kin = partners.find(seen, np.arange(7), "patient").kin
    assert len(set(kin[[0, 1, 3]])) == 1
    assert len(set(kin)) == 5  # unknown patients are everybody's negatives, and so are others of that name


def test_every_partner_is_equally_likely():
    seen = table(patient_id=["a"] * 5)
    found = partners.find(seen, np.arange(5), "patient")
    drawn = [found.of(np.array([2]), ["s2"], 0, epoch)[0] for epoch in range(2000)]
    counts = np.bincount(drawn, minlength=5)
    assert counts[2] == 0
    assert (abs(counts[[0, 1, 3, 4]] - 500) < 100).all(), counts


def test_only_images_that_are_trained_on_become_partners():
    seen = table(patient_id=["a", "a", "a", "b", "b"])
    assert pairs(seen, "patient", rows=[0, 2, 3]) == {0: {2}, 2: {0}, 3: {3}}


def test_of_a_study_but_never_of_another_patient_and_kin_is_the_patient():
    seen = table(study_id=["1", "1", "2", "2", "3"], patient_id=["a", "a", "a", "b", None])
    assert pairs(seen, "study") == {0: {1}, 1: {0}, 2: {2}, 3: {3}, 4: {4}}
    kin = partners.find(seen, np.arange(5), "study").kin
    assert kin[0] == kin[1] == kin[2]
    assert len(set(kin)) == 3


def test_neighbours_are_frames_of_one_file_not_too_far_apart():
    seen = table(frame=[0, 1, 2, 4, 0, 1], path=["v"] * 4 + ["w"] * 2, patient_id=[None] * 6)
    assert pairs(seen, "neighbours") == {0: {1}, 1: {0, 2}, 2: {1}, 3: {3}, 4: {5}, 5: {4}}
    assert pairs(seen, "neighbours", distance=2) == {0: {1, 2}, 1: {0, 2}, 2: {0, 1, 3}, 3: {2}, 4: {5}, 5: {4}}
    kin = partners.find(seen, np.arange(6), "neighbours").kin
    assert kin.tolist() == [0, 0, 0, 0, 1, 1]  # the whole volume: a partner may be a neighbour of a third


def test_volumes_of_one_file_and_images_of_a_set_are_told_apart():
    seen = table(frame=[0, 1, 1], path=["v"] * 3, series_id=["1", "1", "2"])
    assert pairs(seen, "neighbours") == {0: {1}, 1: {0}, 2: {2}}
    with pytest.raises(DataError, match="none of the 2 images has a frame in a file of a volume"):
        pairs(table(frame=[0, 1], path=["set.npz"] * 2, format=["medmnist"] * 2), "neighbours")


def test_slices_that_are_files_are_neighbours_by_the_number_of_a_label_table():
    numbers = ["1", "2.5", "3", "1", "word"]
    seen = table(series_id=["A", "A", "A", "B", "A"], slice_number=numbers)
    assert pairs(seen, "neighbours") == {0: {0}, 1: {2}, 2: {1}, 3: {3}, 4: {4}}


@pytest.mark.parametrize(
    ("kind", "columns", "said"),
    [
        ("patient", {"patient_id": [None, None]}, "of one patient, but none of the 2 images has a patient_id"),
        ("study", {"study_id": [None, None]}, "of one study, but none of the 2 images has a study_id"),
        ("neighbours", {"frame": [None, None]}, "neighbours in a volume, but none of the 2 .*here.*slice_number"),
        ("patient", {"patient_id": ["a", "b"]}, "of one patient, and no two of the 2 images are such"),
        ("neighbours", {"frame": [0, 5], "path": ["v", "v"]}, "neighbours in a volume, and no two of the 2"),
    ],
)
def test_what_cannot_be_paired_is_said(kind, columns, said):
    with pytest.raises(DataError, match=f"(?s)Positives are images .*{said}.*positives=image"):
        partners.find(table(**columns), np.arange(2), kind, where="here")


def test_images_that_are_alone_are_counted():
    seen = table(patient_id=["a", "a", "b", None])
    assert "2 of 4 images" in partners.find(seen, np.arange(4), "patient").remark
    assert partners.find(seen, np.arange(2), "patient").remark is None


def loader(order, rank=0, world=1):
    store = held(9, order)
    found = partners.find(store.index.assign(site=None), np.arange(9), "patient")
    return Loader(store, np.arange(9), 4, seed=3, rank=rank, world=world, partners=found)


def seen_by(loader, steps=8):
    return [(batch.sample_id, batch.partner.sample_id) for batch in loader.iterate(0, steps)]


def test_partners_follow_from_content_alone_and_ranks_share_them():
    whole = seen_by(loader(range(9)))
    assert seen_by(loader([3, 7, 0, 5, 1, 2, 8, 6, 4])) == whole
    ranks = [seen_by(loader(range(9), rank, 2)) for rank in range(2)]
    assert [(a[0] + b[0], a[1] + b[1]) for a, b in zip(*ranks)] == whole
    assert {tuple(one) for own, other in whole for one in zip(own, other)} >= {("s2", "s3"), ("s3", "s2"), ("s0", "s0")}


def test_a_batch_carries_its_partners_pixels_and_kin():
    batch = loader(range(9)).batch(0)
    numbers, others = ([int(name[1:]) for name in names] for names in (batch.sample_id, batch.partner.sample_id))
    assert batch.partner.image[:, 0, 0, 0].tolist() == others
    assert [number // 2 for number in others] == [number // 2 for number in numbers]
    assert (
        batch.kin.tolist()
        == partners.find(held(9).index.assign(site=None), np.arange(9), "patient").kin[numbers].tolist()
    )
