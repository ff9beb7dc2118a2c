"""No test patient and no test image is seen before the test: in pretraining, in training or in choosing settings."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medssl.data.privacy import mark_of
from medssl.data.splits import overlap
from medssl.errors import DataError
from medssl.evaluation.arms import Arm

_COLUMNS = ("patient_key", "pixel_hash")


def shares(table: pd.DataFrame, tests: Sequence[pd.DataFrame]) -> np.ndarray:
    """Return which rows of a table have the patient or the pixels of any test image, (N,) bool."""
    found = np.zeros(len(table), bool)
    for test in tests:
        for name in _COLUMNS:
            found |= table[name].isin(test[name]).to_numpy(bool)
    return found


def check_pretraining(arms: Sequence[Arm], tests: dict[str, pd.DataFrame]) -> None:
    """Refuse a run that was pretrained on a test patient or a test image.

    Args:
        arms: The pretrained arms.
        tests: The test images of each set, with the columns patient_key and pixel_hash.

    Raises:
        DataError: The run, the test set, the counts and the first patients are named.
    """
    for run in [run for arm in arms for run in arm.runs]:
        seen = run.pretrained_on()
        for name, test in tests.items():
            common = overlap(seen["patient_key"], test["patient_key"], seen["pixel_hash"], test["pixel_hash"])
            if common:
                raise DataError(
                    f"The run '{run.name}' was pretrained on images of the test set '{name}': {_told(common, test)}",
                    where=run.folder,
                    fix="Pretrain again without them (the same manifest with data.holdout > 0 leaves its test patients "
                    "out; one of several places, made by `medssl join`, those of each, to be swept with --ood-labels), "
                    "or test on other images; --drop-overlap cannot undo pretraining",
                )


def unlike_keys(arms: Sequence[Arm], tests: dict[str, pd.DataFrame]) -> list[str]:
    """Return a remark on every test set whose patients cannot be compared with those of a run.

    Pseudonyms of one person by two keys differ, so that only equal pixels can show that a test patient was seen.
    """
    seen = [_keys(run.pretrained_on()) for arm in arms for run in arm.runs]
    unlike = {name: sum(not keys & _keys(test) for keys in seen) for name, test in tests.items()}
    return [
        f"Patients of the test set '{name}' and of {number} of {len(seen)} pretraining runs have pseudonyms by "
        "different keys: only equal pixels were looked for. Scan both with one --key if they are of one hospital"
        for name, number in unlike.items()
        if number
    ]


def _keys(table: pd.DataFrame) -> set[str]:
    """Return the keys of a table's pseudonyms; the empty one where ids are real, or were before there were keys."""
    known = table["id_key"] if "id_key" in table else pd.Series([None])
    return {mark_of(mark)[0] for mark in known.fillna("").astype(str)}


def check_training(pool: pd.DataFrame, tests: dict[str, pd.DataFrame]) -> None:
    """Refuse training images that share a patient or pixels with a test image.

    Raises:
        DataError: The test set, the counts and the first patients are named.
    """
    for name, test in tests.items():
        common = overlap(pool["patient_key"], test["patient_key"], pool["pixel_hash"], test["pixel_hash"])
        if common:
            raise DataError(
                f"Training images and the test set '{name}' share {_told(common, test)}",
                fix="Add --drop-overlap train to leave such training images out and count them; if equal numbers mean "
                "different people, give both manifests a site column",
            )


def check_tests(tests: dict[str, pd.DataFrame]) -> None:
    """Refuse test sets that share patients or images: a difference between them would not be one between places.

    Raises:
        DataError: Both sets, the counts and the first patients are named.
    """
    names = list(tests)
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            a, b = tests[first], tests[second]
            common = overlap(a["patient_key"], b["patient_key"], a["pixel_hash"], b["pixel_hash"])
            if common:
                raise DataError(
                    f"The test sets '{first}' and '{second}' share {_told(common, b)}",
                    fix="Leave those images out of one of them; if equal numbers mean different people, give both "
                    "manifests a site column",
                )


def _told(common: object, test: pd.DataFrame) -> str:
    """Return the counts and first patients, and the first samples where only pixels are shared."""
    pixels = getattr(common, "pixels", [])
    samples = test.loc[test["pixel_hash"].isin(pixels), "sample_id"].astype(str).tolist()
    named = f" (test samples {', '.join(samples[:3])}{', ...' if len(samples) > 3 else ''})" if samples else ""
    return f"{common}{named}"
