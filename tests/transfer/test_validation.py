import numpy as np
import pytest

from medssl.transfer.validation import fewest_patients, folds, log_loss


def test_folds_share_no_patient_and_hold_every_image_once():
    patients = np.array([f"p{i // 2}" for i in range(40)], dtype=object)
    labels = np.array([(i // 2) % 2 for i in range(40)], dtype=float)
    parts = folds(labels, patients, 5, seed=0)
    assert len(parts) == 5
    assert sorted(np.concatenate(parts)) == list(range(40))
    assert all(not set(patients[part]) & set(np.delete(patients, part)) for part in parts)


def test_the_rarer_class_limits_the_folds():
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1.0])
    patients = np.array(list("abcdefghi"), dtype=object)
    assert fewest_patients(labels, patients) == 3
    assert len(folds(labels, patients, 5, seed=0)) == 3


@pytest.mark.parametrize("seed", range(8))
def test_patients_of_both_classes_leave_fewer_folds_and_never_an_error(seed):
    labels = np.array([1, 0, 1, 0, 1, 0, 1, 0, 1, 1, 0, 0], dtype=float)
    patients = np.array(list("aabbccddeefg"), dtype=object)
    assert fewest_patients(labels, patients) == 5
    parts = folds(labels, patients, 5, seed)
    assert 2 <= len(parts) <= 5
    assert all(set(labels[part]) == {0, 1} for part in parts)


def test_one_patient_of_a_class_leaves_nothing_to_hold_out():
    assert folds(np.array([1, 0, 0, 0.0]), np.array(list("abcd"), dtype=object), 5, seed=0) == []
    assert folds(np.array([1, 0, 0.0]), np.array(list("aab"), dtype=object), 5, seed=0) == []


def test_log_loss_of_one_hand_example():
    assert log_loss(np.array([1.0, 0.0]), np.array([0.8, 0.4])) == pytest.approx(-(np.log(0.8) + np.log(0.6)) / 2)
    assert np.isfinite(log_loss(np.array([1.0]), np.array([0.0])))
