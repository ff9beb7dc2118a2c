import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from medssl.transfer import probe
from medssl.transfer.validation import folds, log_loss


def problem(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of very different scales, the first of which carries the label; two images a patient."""
    generator = np.random.default_rng(seed)
    patients = np.array([f"p{i // 2}" for i in range(n)], dtype=object)
    labels = np.array([(i // 2) % 2 for i in range(n)], dtype=float)
    features = generator.normal(size=(n, d)) * generator.uniform(0.1, 100, d) + 5
    features[:, 0] += 200 * labels
    return features, labels, patients


@pytest.mark.parametrize(("n", "d"), [(60, 7), (20, 50)])
def test_the_solution_is_that_of_another_solver(n, d):
    features, labels, patients = problem(n, d)
    fitted = probe.fit(features, labels, patients, seed=0, grid=[0.3])
    scaler = StandardScaler().fit(features)
    other = LogisticRegression(C=0.3, tol=1e-10, max_iter=10_000).fit(scaler.transform(features), labels)
    expected = other.predict_proba(scaler.transform(features))[:, 1]
    np.testing.assert_allclose(fitted.score(features), expected, atol=1e-5)


def test_the_choice_is_the_lowest_log_loss_on_patients_left_out():
    features, labels, patients = problem(40, 30)
    fitted = probe.fit(features, labels, patients, seed=3)
    slow = {}
    for c in probe.GRID:
        scores = np.zeros(len(labels))
        for held in folds(labels, patients, 5, 3):
            kept = np.setdiff1d(np.arange(len(labels)), held)
            scaler = StandardScaler().fit(features[kept])
            model = LogisticRegression(C=c, tol=1e-9, max_iter=10_000).fit(
                scaler.transform(features[kept]), labels[kept]
            )
            scores[held] = model.predict_proba(scaler.transform(features[held]))[:, 1]
        slow[c] = log_loss(labels, scores)
    assert fitted.choice["C"] == min(slow, key=slow.__getitem__)
    assert fitted.choice["validation_log_loss"] == pytest.approx(min(slow.values()), abs=1e-4)


def test_without_two_patients_of_a_class_a_fixed_strength_is_used():
    features, labels, patients = problem(4, 3)
    fitted = probe.fit(features, labels, patients, seed=0)
    assert fitted.choice == {"C": probe.WITHOUT_VALIDATION, "validation_log_loss": None, "folds": 0}
    assert fitted.score(features)[labels == 1].min() > fitted.score(features)[labels == 0].max()


def test_a_feature_that_never_varies_has_no_weight():
    features, labels, patients = problem(20, 4)
    features[:, 2] = 7.0
    fitted = probe.fit(features, labels, patients, seed=0)
    assert fitted.weights[2] == 0
    assert np.isfinite(fitted.weights).all()
