"""What each method learns: features of a backbone before and after its pretraining, on patients that it never saw.

    python benchmarks/methods_learn.py OUT --data MANIFEST --modality oct --label COLUMN --positive A,B --negative C \
        [--methods mae,simclr] [--set train.epochs=10 --variant short]

A method is pretrained as `medssl pretrain` does it where nobody says more, on the training patients, without labels.
Its frozen features, and those of the same backbone before the first step, are then read by nearest neighbours (k = 20)
and by a linear probe that learn from all labels of the training patients, and tested on the other patients. The
difference is resampled over test patients, 2,000 times. One seed a method: chance of the seed is in no interval.
Where residual branches of a network begin at zero, "before" has them open, which is the better of two random networks;
the difference to the very weights of the start is in the figures beside it.

Finished runs and figures in OUT are kept; OUT/figures.jsonl has a line each, and `--table` prints them. Other settings
are another variant, with a name of its own. `--backbone` takes another network than the usual one for all methods.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import medssl
from medssl.data.manifest import Manifest
from medssl.evaluation import arms, plan, preparation
from medssl.evaluation.cohort import Cohort
from medssl.evaluation.learners import PretrainedFeatures, opened
from medssl.evaluation.resampling import blocks, interval, patient_counts
from medssl.methods import exported
from medssl.metrics import auroc, effective_rank, knn
from medssl.settings import load_yaml
from medssl.training import pretraining
from medssl.training.settings import check
from medssl.transfer import probe
from medssl.transfer.features import extract

METHODS = ("mae", "ijepa", "dino", "simclr", "byol", "vicreg", "lejepa", "spark", "mae_contrast")
RESAMPLES = 2_000


def main() -> None:
    """Pretrain and measure what is not there yet, and print a row each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--modality")
    parser.add_argument("--label")
    parser.add_argument("--positive", type=lambda words: words.split(","))
    parser.add_argument("--negative", type=lambda words: words.split(","))
    parser.add_argument("--methods", type=lambda names: names.split(","), default=list(METHODS))
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--variant", default="", help="what these settings are called")
    parser.add_argument("--backbone")
    parser.add_argument("--table", action="store_true", help="print what is in OUT as rows of Markdown")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    figures = args.out / "figures.jsonl"
    if not args.table:
        for name in args.methods:
            if [args.data.stem, name, args.variant] not in [identity(row) for row in kept(figures)]:
                row = measured(pretrained(name, args), args)
                with figures.open("a") as handle:
                    handle.write(json.dumps(row) + "\n")
    for row in kept(figures):
        print(as_markdown(row), flush=True)


def kept(figures: Path) -> list[dict[str, Any]]:
    """Return what was measured."""
    return [json.loads(line) for line in figures.read_text().splitlines()] if figures.is_file() else []


def identity(row: dict[str, Any]) -> list[str]:
    """Return what a row is of: set, method and variant."""
    return [row["data"], row["method"], row.get("variant", "")]


def pretrained(name: str, args: argparse.Namespace) -> Path:
    """Return the run of a method, made or gone on with where it is not there."""
    folder = args.out / "-".join(filter(None, (args.data.stem, name, args.variant)))
    given = dict(pair.split("=", 1) for pair in args.settings)
    settings = {key: json.loads(value) for key, value in given.items()} | {
        "data.label": args.label, "data.positive": args.positive, "data.negative": args.negative,
    }  # fmt: skip
    print(f"{time.strftime('%H:%M:%S')} {folder.name}", flush=True)
    run = medssl.pretrain(
        args.modality, name, data=args.data, backbone=args.backbone, settings=settings, out=folder, resume=True
    )
    return run.folder


def measured(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Return how features before and after read the label of test patients."""
    run = arms.open_run(folder)
    pool, test = cohorts(run, args)
    start = exported(pretraining.build(check(load_yaml(folder / "settings.yaml"))))
    features = {  # in this order: opened() changes what start is
        "start": [extract(start, cohort.examples(run.recipe)) for cohort in (pool, test)],
        "before": [extract(opened(start), cohort.examples(run.recipe)) for cohort in (pool, test)],
        "after": [PretrainedFeatures(run).compute(cohort, torch.device("cpu")) for cohort in (pool, test)],
    }
    scores = {when: dict(readings(*found, pool, test)) for when, found in features.items()}
    labels, patients = test.table["target"].to_numpy(float), test.table["patient_key"].to_numpy(dtype=object)
    result: dict[str, Any] = {
        "data": args.data.stem, "method": run.settings["method"], "variant": args.variant,
        "backbone": run.settings["backbone"],
        "epochs": run.settings["train"]["epochs"], "minutes": run.minutes(),
        "pretrained_on": len(pool), "tested_on": len(test), "test_patients": len(set(patients)),
        "rank": [round(effective_rank.compute(features[when][1]), 1) for when in ("before", "after")],
    }  # fmt: skip
    for reading in ("knn", "probe"):
        after = scores["after"][reading]
        result[reading] = compared(labels, patients, scores["before"][reading], after)
        result[f"{reading}_from_start"] = compared(labels, patients, scores["start"][reading], after)
    return result


def cohorts(run: arms.Pretrained, args: argparse.Namespace) -> tuple[Cohort, Cohort]:
    """Return the training and the test images, as a sweep parts them."""
    data, opened_arms = Manifest.load(args.data), arms.open_arms([run.folder], "last")
    asked = {"label": args.label, "positive": args.positive, "negative": args.negative, "draws": 1, "mode": "probe"}
    settings = plan.resolve(
        opened_arms, (args.data, data), {}, fractions=[100], primary=None, drop_overlap="train", budget=None,
        device="cpu", seed=0, checkpoint="last", margin=0.02, **asked,
    )  # fmt: skip
    prepared = preparation.prepare(settings, opened_arms, data, {}, lambda *_: None)
    return prepared.pool, prepared.tests["id"]


def readings(train: np.ndarray, test: np.ndarray, pool: Cohort, others: Cohort) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the scores of the test images by nearest neighbours and by a linear probe."""
    labels = pool.table["target"].to_numpy(float)
    patients = pool.table["patient_key"].to_numpy(dtype=object)
    both = np.concatenate([train, test])
    known = np.concatenate([labels, np.full(len(test), np.nan)])
    groups = np.concatenate([patients, others.table["patient_key"].to_numpy(dtype=object)])
    yield "knn", knn.scores(both, known, groups)[len(train) :]
    yield "probe", probe.fit(train, labels, patients, seed=0).score(test)


def compared(labels: np.ndarray, patients: np.ndarray, before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
    """Return AUROC before and after, and their difference with its 95 % interval over resampled patients."""
    codes, names = np.unique(patients.astype(str), return_inverse=True)
    before, after = (np.nan_to_num(scores, nan=0.5) for scores in (before, after))  # nobody is near where all is alike
    weights = np.concatenate([patient_counts(len(codes), a, b, 0, "id") for a, b in blocks(RESAMPLES)])[:, names].T
    first, second = (auroc.compute_many(labels == 1, scores, weights) for scores in (before, after))
    return {
        "before": auroc.compute(labels, before), "before_interval": interval(first),
        "after": auroc.compute(labels, after), "after_interval": interval(second),
        "difference": auroc.compute(labels, after) - auroc.compute(labels, before),
        "difference_interval": interval(second - first),
    }  # fmt: skip


def as_markdown(row: dict[str, Any]) -> str:
    """Return a row of the table in docs/results/methods.md."""
    name = " ".join(filter(None, (f"`{row['method']}`", row.get("variant", ""))))
    cells = [row["data"], name, row["backbone"], f"{row['epochs']}", f"{row['minutes'] or 0:.1f}"]
    for reading in ("knn", "probe"):
        one = row[reading]
        low, high = one["difference_interval"]
        cells.append(f"{one['before']:.3f} to {one['after']:.3f}: {one['difference']:+.3f} ({low:+.3f} to {high:+.3f})")
    return f"| {' | '.join(cells)} | {row['rank'][0]:g} to {row['rank'][1]:g} |"


if __name__ == "__main__":
    main()
