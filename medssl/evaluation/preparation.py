"""From manifests to a bench: labels, test sets, the training pool without any test image, and the label draws."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from medssl.chance import key
from medssl.data.labels import BinaryLabel
from medssl.data.manifest import Manifest
from medssl.data.splits import ONE_PATIENT, held_out, nested_fractions
from medssl.errors import DataError
from medssl.evaluation import likeness, overlap, shifts
from medssl.evaluation.arms import Arm, Recipe
from medssl.evaluation.cohort import Cohort, LabelSpec, Progress, gather, labelled, patients_of, with_words, words_for
from medssl.evaluation.plan import SweepSettings
from medssl.evaluation.predictions import OWN, SHIFTED, own_set

Draw = tuple[float, int]


@dataclass(frozen=True)
class Place:
    """Another place with labels of its own.

    Attributes:
        pool: Its images that may be trained on.
        test: Its test images, those of the test set without its labels.
        draws: For each fraction of its patients and draw, rows of its pool.
    """

    pool: Cohort
    test: Cohort
    draws: dict[Draw, np.ndarray]


@dataclass(frozen=True)
class Prepared:
    """What a sweep works on.

    Attributes:
        pool: The images that may be trained on.
        tests: The test sets by name, "id" first, its images under acquisition shifts last.
        draws: For each fraction and draw, rows of the pool.
        label: The words of the label.
        remarks: Sentences on what was left out.
        places: Other places by name whose own labels are learnt from too.
    """

    pool: Cohort
    tests: dict[str, Cohort]
    draws: dict[Draw, np.ndarray]
    label: BinaryLabel
    remarks: tuple[str, ...]
    places: dict[str, Place]

    def counts(self) -> list[dict[str, Any]]:
        """Return patients, images and positives of each test set, the pool, and each fraction and draw."""
        sets: list[tuple[dict[str, Any], pd.DataFrame]] = [
            ({"set": f"test: {name}"}, cohort.table) for name, cohort in self.tests.items() if cohort.domain != SHIFTED
        ]
        sets += [
            ({"set": "training", "fraction": fraction, "draw": draw}, self.pool.table.iloc[rows])
            for (fraction, draw), rows in self.draws.items()
        ]
        sets += [
            ({"set": f"training: {name}", "fraction": fraction, "draw": draw}, place.pool.table.iloc[rows])
            for name, place in self.places.items()
            for (fraction, draw), rows in place.draws.items()
        ]
        return [{**name, **_count(table)} for name, table in sets]


def prepare(
    settings: SweepSettings, arms: Sequence[Arm], data: Manifest, ood: dict[str, Manifest], progress: Progress
) -> Prepared:
    """Read labels, pack images, keep test images out of everything else, and draw the label fractions.

    Raises:
        SettingsError: The label column or one of its words is unknown.
        DataError: A split has one class only, test images are in training or pretraining, or a fraction has too few
            patients.
    """
    recipes = list(dict.fromkeys(run.recipe for arm in arms for run in arm.runs))
    asked = LabelSpec(settings.label, settings.positive, settings.negative)
    spec, *specs = words_for([data, *ood.values()], asked)
    known, label = labelled(data, spec)
    known, doubtful = patients_of(known)
    cohort = gather(data, known.table, "id", "id", recipes, progress)
    pool, test, remarks = split(cohort, known, settings)
    remarks += doubtful
    tests, pools = {"id": test}, {"": pool}
    for (name, manifest), other in zip(ood.items(), specs, strict=True):
        found = labelled(manifest, with_words(other, label))[0]
        if settings.ood_labels:
            tests[name], pools[name], more = parted(manifest, name, found, recipes, settings, progress)
        else:
            tests[name], more = out_of_distribution(manifest, name, found, recipes, progress)
        remarks += more
    for name, part in tests.items():
        _check_classes(part.table, f"the test set '{name}'", settings.label, label)
    tables = {name: part.table for name, part in tests.items()}
    remarks += overlap.check_tests(tables)
    remarks += overlap.check_pretraining(arms, tables)
    for name, part in pools.items():
        if settings.drop_overlap:
            pools[name], told = _dropped(part, name, list(tables.values()))
            remarks.append(told)
        _check_classes(pools[name].table, f"the training part{_of(name)}", settings.label, label)
        remarks += overlap.check_training(pools[name].table, tables, _of(name))
        remarks += likeness.told(pools[name], tests)
    pool = pools.pop("")
    places = {}
    for name, part in pools.items():
        places[name], more = _place(name, part, tests[name], settings)
        remarks += more
    tests |= shifts.shifted(test, settings.shifts)
    return Prepared(pool, tests, draw(pool, settings.fractions, settings), label, tuple(remarks), places)


def split(cohort: Cohort, known: Manifest, settings: SweepSettings) -> tuple[Cohort, Cohort, list[str]]:
    """Return the training pool, the in-distribution test set, and remarks.

    Rows that the manifest calls 'ood' belong to neither.
    """
    given = cohort.table["split"].fillna("").to_numpy(dtype=object)
    if settings.drop_overlap and (given == "test").any():
        test = given == "test"
    else:
        by_id = pd.Series(held_out(known, settings.holdout), index=known.table["sample_id"])
        test = by_id.loc[cohort.table["sample_id"]].to_numpy(bool)
    outside = given == "ood"
    test = test & ~outside
    remarks = list(cohort.remarks)
    if outside.any():
        remarks.append(f"{outside.sum()} images that the manifest calls 'ood' are neither trained nor tested on here")
    if (given == "test").any():
        remarks.append("The test part is the one that the manifest gives")
    else:
        remarks.append(f"The test part is {settings.holdout:.0%} of the patients, chosen by a hash of their ids")
    return cohort.take(np.flatnonzero(~test & ~outside)), cohort.take(np.flatnonzero(test)), remarks


def out_of_distribution(
    manifest: Manifest, name: str, found: Manifest, recipes: Sequence[Recipe], progress: Progress
) -> tuple[Cohort, list[str]]:
    """Return a test set of another place: of its labelled rows those with split 'test', or all where there are none."""
    known, doubtful = patients_of(found)
    given = (known.table["split"] == "test").fillna(False).to_numpy(bool)
    chosen = known.table[given] if given.any() else known.table
    cohort = gather(manifest, chosen.reset_index(drop=True), name, "ood", recipes, progress)
    part = "its rows with split 'test'" if given.any() else "all of its labelled rows"
    return cohort, [*cohort.remarks, *doubtful, f"The test set '{name}' is {part}"]


def parted(
    manifest: Manifest,
    name: str,
    found: Manifest,
    recipes: Sequence[Recipe],
    settings: SweepSettings,
    progress: Progress,
) -> tuple[Cohort, Cohort, list[str]]:
    """Return the test set of another place, and the images there that may be learnt from.

    Its patients are parted as those of the in-distribution manifest are: by its given test part, or by the hash that
    every command holds patients out by.
    """
    inside = found.table["split"].where(found.table["split"] != "ood")  # of another manifest's point of view
    known, doubtful = patients_of(found.with_table(found.table.assign(split=inside)))
    cohort = gather(manifest, known.table, name, "ood", recipes, progress)
    pool, test, told = split(cohort, known, settings)
    return test, pool, [*doubtful, *(f"{name}: {text}" for text in told)]


def _place(name: str, pool: Cohort, test: Cohort, settings: SweepSettings) -> tuple[Place, list[str]]:
    """Return a place with the fractions of its labels that are at least a patient of each class, and remarks."""
    positive = set(pool.table["patient_key"][pool.table["target"] == 1])
    fewest = min(len(positive), len(set(pool.table["patient_key"]) - positive))
    fractions = [fraction for fraction in settings.fractions if fewest * fraction / 100 >= ONE_PATIENT]
    if not fractions:
        raise DataError(
            f"No fraction of the labels of '{name}' is a patient of each class: the rarer one has {fewest}",
            fix="Use larger --fractions, or leave out --ood-labels",
        )
    few = [f"{fraction:g} %" for fraction in settings.fractions if fraction not in fractions]
    told = (
        [f"Of '{name}' {', '.join(few)} of the labels would be no patient of the rarer class: left out"] if few else []
    )
    own = replace(test, name=own_set(name), domain=OWN)
    return Place(pool, own, draw(pool, fractions, settings)), told


def draw(pool: Cohort, fractions: Sequence[float], settings: SweepSettings) -> dict[Draw, np.ndarray]:
    """Return the rows of every fraction and draw: nested, stratified, whole patients, the same for every arm."""
    labels = pool.table["target"].to_numpy(float)
    patients = pool.table["patient_key"].to_numpy(dtype=object)
    draws = [nested_fractions(labels, patients, fractions, number, settings.seed) for number in range(settings.draws)]
    return {(fraction, n): draws[n][fraction] for fraction in fractions for n in range(settings.draws)}


def initial_seed(settings: SweepSettings, draw: int) -> int:
    """Return the seed of initial weights and order of a training: another for every draw."""
    return key(settings.seed, "initial", draw) % 2**31


def _of(name: str) -> str:
    return f" of '{name}'" if name else ""


def _dropped(pool: Cohort, name: str, tests: list[pd.DataFrame]) -> tuple[Cohort, str]:
    shared = overlap.shares(pool.table, tests)
    patients = pool.table["patient_key"][shared].nunique()
    told = f"{shared.sum()} training images of {patients} patients{_of(name)} were left out"
    return pool.take(np.flatnonzero(~shared)), f"{told}: they share patient or pixels with a test image"


def _check_classes(table: pd.DataFrame, name: str, column: str, label: BinaryLabel) -> None:
    found = set(table["target"])
    if len(found) < 2:
        only = {1.0: label.positive_name, 0.0: label.negative_name}
        said = f"only '{only[found.pop()]}'" if found else "no labelled image"
        raise DataError(
            f"In {name} there is {said} in the label column '{column}'; both classes are needed",
            fix="Use a label with both classes in every part, or another split",
        )


def _count(table: pd.DataFrame) -> dict[str, int]:
    positive = table["target"] == 1
    return {
        "patients": int(table["patient_key"].nunique()),
        "images": len(table),
        "positive patients": int(table["patient_key"][positive].nunique()),
        "positive images": int(positive.sum()),
    }
