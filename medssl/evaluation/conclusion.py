"""The end of a sweep: one table of predictions, every statistic from it, the map, and what a reader must know."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from medssl import files
from medssl.data.builtin import SYNTHETIC, is_builtin
from medssl.errors import DataError
from medssl.evaluation import predictions, shifts
from medssl.evaluation.arms import BUILT_IN, Arm
from medssl.evaluation.cells import CellFolder, plain
from medssl.evaluation.cohort import modality_of
from medssl.evaluation.computing import Planned
from medssl.evaluation.learners import PretrainedFeatures, ProbeLearner, TrainingLearner
from medssl.evaluation.maps import embed
from medssl.evaluation.plan import SweepSettings
from medssl.evaluation.predictions import place_of
from medssl.evaluation.preparation import Prepared
from medssl.evaluation.shift_statistics import shift_results
from medssl.evaluation.statistics import analyse
from medssl.transfer import probe

PREDICTIONS, FACTS, RESULTS = "predictions.parquet", "facts.json", "results.json"
Records = Sequence[dict[str, Any]]
_NEEDED = ("label", "remarks", "arms", "primary", "margin", "seed", "resamples", "cut_short", "seen")


def conclude(
    folder: Path,
    settings: SweepSettings,
    arms: Sequence[Arm],
    prepared: Prepared,
    cells: Sequence[Planned],
    kept: CellFolder,
    resamples: int,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Write predictions, map, facts and results of a sweep whose cells are all finished; return the first and last.

    `results.json` is written last: where it is, the sweep is complete.
    """
    records = defaultdict(list)
    for planned in cells:
        records[planned.place].append(kept.record(planned.cell))
    table = pd.concat([kept.predictions(planned.cell) for planned in cells], ignore_index=True)
    words = {"positive": prepared.label.positive_name, "negative": prepared.label.negative_name}
    predictions.save(table, folder / PREDICTIONS, **words)
    _write_map(folder, arms, cells)
    synthetic = any(is_builtin(Path(manifest)) for manifest in (settings.data, *settings.ood.values()))
    facts = {
        "label": {"column": settings.label, **words},
        "validation": validation_in_words(settings),
        "counts": prepared.counts(),
        "remarks": remarks(settings, arms, prepared, records, synthetic),
        "synthetic": synthetic,
        "arms": {**{arm.name: _about(arm, settings) for arm in arms}, **BUILT_IN},
        "seconds": round(sum(record["seconds"] for own in records.values() for record in own), 1),
        "primary": {name: settings.primary[name] for name in ("a", "b", "fraction")},
        "margin": settings.margin,
        "seed": settings.seed,
        "resamples": resamples,
        "cut_short": {place: _unfinished(own) for place, own in records.items()},
        "seen": _seen(arms, cells),
    }
    files.write_json(folder / FACTS, plain(facts))
    return rebuild(folder)


def rebuild(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Write `results.json` from `predictions.parquet` and `facts.json` alone; return the table and the results.

    The same two files give the same results anywhere (to ten digits), without images, runs or training.

    Raises:
        DataError: One of the two is missing or damaged.
    """
    facts = files.read_mapping(folder / FACTS)
    missing = [name for name in _NEEDED if name not in facts]
    if missing:
        raise DataError(f"The facts of the sweep lack {', '.join(missing)}", where=folder / FACTS)
    table = predictions.load(folder / PREDICTIONS)
    unchanged, shifted = shifts.parted(table)
    found = analyse(
        unchanged,
        primary=(facts["primary"]["a"], facts["primary"]["b"]),
        primary_fraction=facts["primary"]["fraction"],
        margin=facts["margin"],
        resamples=facts["resamples"],
        seed=facts["seed"],
        unfinished=_by_place(facts["cut_short"]),
    )
    asked = {"resamples": facts["resamples"], "seed": facts["seed"]}
    results = {
        **facts,
        **found,
        "shifts": shift_results(table, facts["seen"], **asked) if len(shifted) else None,
        "remarks": [*facts["remarks"], *found["statistics"]["remarks"]],
    }
    results = _rounded(plain(results))
    files.write_json(folder / RESULTS, results)
    return table, results


def _by_place(cut_short: Any) -> dict[str, list[tuple[str, float]]]:
    """Return arms and fractions that the budget ended, by whose labels they learnt from; once there were no others."""
    places = cut_short if isinstance(cut_short, dict) else {"id": cut_short}
    return {place: [(arm, float(fraction)) for arm, fraction in own] for place, own in places.items()}


def _rounded(value: Any) -> Any:
    """Return floats with ten significant digits: the sixteenth depends on how many threads add up."""
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.10g}") if isinstance(value, float) else value


def validation_in_words(settings: SweepSettings) -> str:
    """Return how settings were chosen, and that the labels for it were drawn inside each fraction."""
    budget = settings.budget
    probes = (
        f"C of a probe among {len(probe.GRID)} values ({min(probe.GRID):g} to {max(probe.GRID):g}) by patient-grouped, "
        f"stratified cross-validation (at most {probe.MOST_FOLDS} folds, fewer with fewer patients of the rarer class)"
    )
    training = (
        f"learning rate among {len(budget.learning_rates)} values and number of steps (at most {budget.steps}) of a "
        "trained network on a held-out third of the patients, after which the whole fraction is trained on"
    )
    return (
        f"inside the fraction: every choice is made by log loss on patients drawn as part of the "
        f"fraction, with the same budget for every arm: {probes}; {training}"
    )


def remarks(
    settings: SweepSettings, arms: Sequence[Arm], prepared: Prepared, records: Mapping[str, Records], synthetic: bool
) -> list[str]:
    """Return the sentences that a reader of the results must see."""
    said = [SYNTHETIC] if synthetic else []
    said += prepared.remarks
    said += _checkpoint_remarks(arms) if settings.checkpoint == "best" else []
    for place, own in records.items():
        said += _fixed_remarks(own, _at(place))
        said += _limit_remarks(own, _at(place))
    if 100 in settings.fractions and settings.draws > 1:
        said.append(
            "All draws of 100 % have the same labels: they differ in initial weights and order of training only"
        )
    return said


def _checkpoint_remarks(arms: Sequence[Arm]) -> list[str]:
    return [
        f"The checkpoint of '{run.name}' was chosen by online kNN with {run.monitored_labels()} labels of training "
        "patients, which no label fraction counts"
        for arm in arms
        for run in arm.runs
        if run.epoch is None
    ]


def _at(place: str) -> str:
    """Return whose labels are meant, in words; nothing for those in distribution."""
    return "" if place == "id" else f" of the labels of '{place_of(place)}'"


def _fixed_remarks(records: Records, of: str) -> list[str]:
    """Say where nothing could be held out, so that fixed settings were used."""
    fixed = sorted({r["fraction"] for r in records if r["choice"]["validation_log_loss"] is None})
    return [
        f"At {fraction:g} %{of} the patients of some draw are too few to hold any out for choosing settings: there "
        f"probes use C = {probe.WITHOUT_VALIDATION:g} and trained networks the budget's fixed learning rate and steps"
        for fraction in fixed
    ]


def _unfinished(records: Records) -> list[tuple[str, float]]:
    """Return arm and fraction of the trainings that were ended by the budget and not by their plateau."""
    return sorted({(r["arm"], r["fraction"]) for r in records if r["choice"].get("at_limit")})


def _limit_remarks(records: Records, of: str) -> list[str]:
    return [
        f"The validation loss of '{arm}' at {fraction:g} %{of} was still falling at the last step allowed, or had not "
        "begun to: more steps (budget.steps) might raise it"
        for arm, fraction in _unfinished(records)
    ]


def _seen(arms: Sequence[Arm], cells: Sequence[Planned]) -> dict[str, list[str]]:
    """Return for each arm the shifts of whose kind its training showed it something."""
    runs = {arm.name: arm.runs[0] for arm in arms}
    result: dict[str, list[str]] = {}
    for name, learner in {planned.cell.arm: planned.entry.learner for planned in cells}.items():
        shown = [(runs[name].modality, runs[name].strengths)] if name in runs else []
        shown += [(modality_of(learner.recipe), ["weak"])] if isinstance(learner, TrainingLearner) else []
        result[name] = [kind for kind in shifts.SHIFTS if any(shifts.seen(kind, *one) for one in shown)]
    return result


def _about(arm: Arm, settings: SweepSettings) -> dict[str, Any]:
    first = arm.runs[0]
    return {
        "method": first.settings["method"],
        "backbone": first.settings.get("backbone"),
        "modality": first.recipe.modality,
        "image size": first.recipe.image_size,
        "runs": [run.name for run in arm.runs],
        "seeds": [run.seed for run in arm.runs],
        "checkpoint": settings.checkpoint if first.epoch is None else f"after epoch {first.epoch}",
        "minutes of pretraining": [run.minutes() for run in arm.runs],
        "pretraining images": [len(run.pretrained_on()) for run in arm.runs],
    }


def _write_map(folder: Path, arms: Sequence[Arm], cells: Sequence[Planned]) -> None:
    random = next(planned for planned in cells if planned.cell.arm == "random")
    sources = {arms[0].name: PretrainedFeatures(arms[0].runs[0])}
    if isinstance(random.entry.learner, ProbeLearner):
        sources["random"] = random.entry.learner.sources[0]  # type: ignore[assignment]
    with files.atomic_path(folder / "embeddings.parquet") as temporary:
        embed(random.bench, dict(sources)).to_parquet(temporary, index=False)
