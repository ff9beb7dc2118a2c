"""What can be read from features: against a loop, and where nothing can be read."""

import numpy as np
import pytest

from medssl.evaluation.readable import read_out
from medssl.metrics import auroc, knn

PATIENTS = np.repeat([f"p{k}" for k in range(15)], 2).astype(object)
WORDS = np.array(["a", "b", "c"], dtype=object)[np.arange(30) // 2 % 3]


def features(strength, seed=0):
    noise = np.random.default_rng(seed).normal(size=(30, 6))
    return noise + strength * (WORDS[:, None] == np.array(["a", "b", "c", "-", "-", "-"]))


def test_it_is_the_mean_over_classes_of_neighbours_of_other_patients():
    values = features(1.0)
    found = read_out(values, WORDS, PATIENTS, PATIENTS)
    wanted, votes = [], []
    for word in "abc":
        label = (word == WORDS).astype(float)
        votes.append(knn.scores(values, label, PATIENTS))
        wanted.append(auroc.compute(label, votes[-1]))
    assert found.auroc == pytest.approx(np.mean(wanted))
    assert found.low < found.auroc < found.high
    right = np.array(["a", "b", "c"])[np.argmax(votes, axis=0)] == WORDS
    assert found.accuracy == pytest.approx(np.mean([right[word == WORDS].mean() for word in "abc"]))
    assert (found.classes, found.images, found.why) == (3, 30, "")


def test_what_is_plain_is_read_and_noise_is_not():
    assert read_out(features(9.0), WORDS, PATIENTS, PATIENTS).auroc > 0.99
    assert read_out(features(0.0), WORDS, PATIENTS, PATIENTS).low < 0.5


def test_images_of_the_same_group_do_not_vote():
    own = (
        np.random.default_rng(2).normal(size=(15, 6)).repeat(2, axis=0)
    )  # a patient's images are alike, and nothing else
    assert read_out(own, WORDS, PATIENTS, PATIENTS).auroc < 0.8
    assert read_out(own, WORDS, PATIENTS, np.arange(30).astype(object)).auroc > 0.8


def test_unknown_words_are_left_out_and_a_word_of_one_patient_is_named():
    words = WORDS.copy()
    words[:2], words[-2:] = None, "rare"
    found = read_out(features(3.0), words, PATIENTS, PATIENTS)
    assert (found.classes, found.images) == (3, 26)
    assert "1 of its words" in found.why


@pytest.mark.parametrize(
    ("words", "values", "why"),
    [
        (np.full(30, None), features(0.0), "not known"),
        (np.full(30, "a"), features(0.0), "the same for all"),
        (WORDS, np.ones((30, 6)), "collapsed"),
    ],
)
def test_no_figure_says_why(words, values, why):
    found = read_out(values, words.astype(object), PATIENTS, PATIENTS)
    assert np.isnan(found.auroc)
    assert why in found.why
