"""How fast is the bootstrap over patients? AUROC of 2,000 images of 1,000 patients, with ties, against scikit-learn.

    OMP_NUM_THREADS=1 python benchmarks/speed_bootstrap.py

The medssl contestant starts from a table of predictions: it is checked and sorted, patients are drawn, AUROCs are
computed. The rivals are handed the same drawn patients for nothing. All must agree to 1e-12.
"""

import argparse

import numpy as np
import pandas as pd
from racing import race, rates, ratio, show, show_machine, spread
from sklearn.metrics import roc_auc_score

from medssl.evaluation.bootstrap import resample
from medssl.evaluation.resampling import BLOCK, patient_counts

IMAGES, PATIENTS = 2000, 1000
RESAMPLES, LOOPED = 10_000, BLOCK  # a loop takes part of them


def main(rounds: int) -> None:
    """Race, compare the numbers, and print."""
    table = predictions()
    patient, label, score = pd.factorize(table["patient_id"])[0], table["label"].to_numpy(), table["score"].to_numpy()
    counts = patient_counts(PATIENTS, 0, LOOPED, 0, "id")
    contestants = {
        "medssl": lambda: resample(table, ["auroc"], RESAMPLES).values["id", "auroc"][1][0],
        "scikit-learn loop": lambda: repeated(patient, label, score, counts),
        "scikit-learn sample_weight": lambda: weighted(patient, label, score, counts),
    }
    values = {name: call()[:LOOPED] for name, call in contestants.items()}
    error = max(float(np.abs(one - values["scikit-learn loop"]).max()) for one in values.values())
    assert error <= 1e-12, f"The contestants differ by {error}"
    seconds = race(contestants, rounds, warmup=0)
    speed = rates(seconds, {"medssl": RESAMPLES} | dict.fromkeys(list(contestants)[1:], LOOPED))
    show_machine("pandas", "scikit-learn")
    show(
        f"AUROC of {IMAGES} images of {PATIENTS} patients, {len(np.unique(score))} distinct scores",
        speed,
        "resamples/s",
    )
    for rival in list(contestants)[1:]:
        print(f"medssl / {rival}: {ratio(speed['medssl'], speed[rival])}")
    print(f"{RESAMPLES} resamples: {spread(seconds['medssl'])} s; largest difference {error:.1e}")


def predictions(seed: int = 0) -> pd.DataFrame:
    """Return a table of one model's scores in hundredths; every patient has an image, labels belong to patients."""
    rng = np.random.default_rng(seed)
    patient = np.sort(np.concatenate([np.arange(PATIENTS), rng.integers(0, PATIENTS, IMAGES - PATIENTS)]))
    label = (rng.random(PATIENTS) < 0.3).astype(int)[patient]
    score = 1 / (1 + np.exp(-(0.8 * label + rng.normal(size=IMAGES))))
    fixed = {"test_set": "id", "domain": "id", "site": None, "arm": "a", "run": "", "seed": 0, "fraction": 100.0}
    samples = {"sample_id": [f"s{i:04}" for i in range(IMAGES)], "patient_id": [f"p{i:04}" for i in patient]}
    return pd.DataFrame({**samples, **fixed, "draw": 0, "mode": "probe", "label": label, "score": score.round(2)})


def repeated(patient: np.ndarray, label: np.ndarray, score: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The usual loop: repeat the images of the drawn patients, call scikit-learn."""
    picks = (np.repeat(np.arange(len(label)), count[patient]) for count in counts)
    return np.array([roc_auc_score(label[pick], score[pick]) for pick in picks])


def weighted(patient: np.ndarray, label: np.ndarray, score: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The smarter loop: how often a patient was drawn as the weight of its images."""
    return np.array([roc_auc_score(label, score, sample_weight=count[patient]) for count in counts])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    main(parser.parse_args().rounds)
