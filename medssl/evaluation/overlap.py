"""No test patient and no test image is seen before the test: in pretraining, in training or in choosing settings.

Images are compared by their pixels, always. Patients can be compared where both sides name them, in one way: as files
do, or by pseudonyms of one key (column `id_key`, its fingerprint). Where they cannot, that is said, never "no overlap".
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medssl.data.splits import overlap
from medssl.errors import DataError
from medssl.evaluation.arms import Arm

_COLUMNS = ("patient_key", "pixel_hash")
_SHIFTED = "+dates"  # behind the fingerprint of a key that moved dates too


def shares(table: pd.DataFrame, tests: Sequence[pd.DataFrame]) -> np.ndarray:
    """Return which rows of a table have the patient or the pixels of any test image, (N,) bool."""
    found = np.zeros(len(table), bool)
    for test in tests:
        for name in _COLUMNS:
            found |= table[name].isin(test[name]).to_numpy(bool)
    return found


def doubt(first: pd.DataFrame, second: pd.DataFrame, names: tuple[str, str]) -> list[str]:
    """Return why patients of two tables cannot be compared, or not all of them; nothing where they can.

    Args:
        first: Images with patient_key, and id_key where ids may be pseudonyms.
        second: Others.
        names: What they are called in the sentence.
    """
    why = []
    ways = sorted(_ways(first) | _ways(second))
    if len(ways) > 1:
        why.append(f"patients are named in {len(ways)} ways ({', '.join(ways)})")
    unknown = [f"{int(t['patient_key'].isna().sum())} of {name}" for t, name in zip((first, second), names, strict=True)
               if t["patient_key"].isna().any()]  # fmt: skip
    why += [f"the patients of {' and '.join(unknown)} are unknown"] if unknown else []
    if not why:
        return []
    return [
        f"Whether {names[0]} and {names[1]} share patients cannot be told: {'; '.join(why)}. They share no image with "
        "equal pixels"
    ]


def _ways(table: pd.DataFrame) -> set[str]:
    """Return how the patients of a table are named: by keys of some fingerprints, or as in the files."""
    if "id_key" not in table.columns:
        return {"as in the files"}
    named = table.loc[table["patient_key"].notna(), "id_key"]
    return {"as in the files" if pd.isna(k) else f"by the key {str(k).removesuffix(_SHIFTED)}" for k in named.unique()}


def check_pretraining(arms: Sequence[Arm], tests: dict[str, pd.DataFrame]) -> list[str]:
    """Refuse a run that was pretrained on a test patient or a test image, in any of its stages.

    Args:
        arms: The pretrained arms.
        tests: The test images of each set, with the columns patient_key and pixel_hash.

    Raises:
        DataError: The run, the test set, the counts and the first patients are named.

    Returns:
        Remarks on what could not be compared.
    """
    remarks = []
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
            remarks += doubt(seen, test, (f"the images that '{run.name}' saw", f"the test set '{name}'"))
    return remarks


def check_training(pool: pd.DataFrame, tests: dict[str, pd.DataFrame], of: str = "") -> list[str]:
    """Refuse training images that share a patient or pixels with a test image.

    Args:
        pool: The training images.
        tests: The test images of each set.
        of: Whose training images they are, in words that follow "the training images".

    Raises:
        DataError: The test set, the counts and the first patients are named.

    Returns:
        Remarks on what could not be compared.
    """
    remarks = []
    for name, test in tests.items():
        common = overlap(pool["patient_key"], test["patient_key"], pool["pixel_hash"], test["pixel_hash"])
        if common:
            raise DataError(
                f"Training images and the test set '{name}' share {_told(common, test)}",
                fix="Add --drop-overlap train to leave such training images out and count them; if equal numbers mean "
                "different people, give both manifests a site column",
            )
        remarks += doubt(pool, test, (f"the training images{of}", f"the test set '{name}'"))
    return remarks


def check_tests(tests: dict[str, pd.DataFrame]) -> list[str]:
    """Refuse test sets that share patients or images: a difference between them would not be one between places.

    Raises:
        DataError: Both sets, the counts and the first patients are named.

    Returns:
        Remarks on what could not be compared.
    """
    names, remarks = list(tests), []
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
            remarks += doubt(a, b, (f"the test sets '{first}'", f"'{second}'"))
    return remarks


def _told(common: object, test: pd.DataFrame) -> str:
    """Return the counts and first patients, and the first samples where only pixels are shared."""
    pixels = getattr(common, "pixels", [])
    samples = test.loc[test["pixel_hash"].isin(pixels), "sample_id"].astype(str).tolist()
    named = f" (test samples {', '.join(samples[:3])}{', ...' if len(samples) > 3 else ''})" if samples else ""
    return f"{common}{named}"
