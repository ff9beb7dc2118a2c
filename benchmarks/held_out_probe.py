"""Which pretraining gives better features? Probed on training patients alone, so that no test image is looked at.

    python benchmarks/held_out_probe.py --data MANIFEST --label COLUMN RUN[@EPOCH] ...

A share of the training patients is labelled, as in a sweep; the probe learns from them and is scored on the other
training patients. The log loss chooses, since the AUROC saturates on some sets. `pixels` is printed beside.
Pretraining has seen these images (without their labels), as it has in a sweep those that are learnt from.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from medssl.data.manifest import Manifest
from medssl.evaluation import arms, learners, plan, preparation
from medssl.metrics import auroc
from medssl.transfer import probe
from medssl.transfer.validation import log_loss


def features(opened: list[arms.Arm], pool: preparation.Cohort) -> dict[str, np.ndarray]:
    """Return the features of all training images for 16 x 16 pixels and for each run."""
    first = opened[0].runs[0]
    sources: dict[str, learners.Source] = {"pixels": learners.PixelFeatures(first.recipe)}
    sources |= {run.argument: learners.PretrainedFeatures(run) for arm in opened for run in arm.runs}
    return {name: source.compute(pool, torch.device("cpu")) for name, source in sources.items()}


def scored(values: np.ndarray, pool: preparation.Cohort, rows: np.ndarray, seed: int) -> tuple[float, float]:
    """Learn from some rows, and return log loss and AUROC on the rows of the other patients."""
    labels = pool.table["target"].to_numpy(float)
    patients = pool.table["patient_key"].to_numpy(dtype=object)
    others = ~np.isin(patients, patients[rows])
    fitted = probe.fit(values[rows], labels[rows], patients[rows], seed=seed)
    scores = fitted.score(values[others])
    return log_loss(labels[others], scores), auroc.compute(labels[others], scores)


def main() -> None:
    """Print one row a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="run folders, RUN@EPOCH for weights kept on the way")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--label", required=True)
    parser.add_argument("--fraction", type=float, default=10, help="per cent of the training patients")
    parser.add_argument("--draws", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = Manifest.load(args.data)
    opened = arms.open_arms({f"arm-{i}": [run] for i, run in enumerate(args.runs)}, "last")
    settings = plan.resolve(
        opened,
        (args.data, data),
        {},
        fractions=[args.fraction],
        primary=None,
        drop_overlap="train",
        budget=None,
        device="cpu",
        label=args.label,
        draws=args.draws,
        mode="probe",
        seed=0,
        checkpoint="last",
        margin=0.02,
    )
    prepared = preparation.prepare(settings, opened, data, {}, lambda *_: None)
    pool = prepared.pool
    print(f"{len(pool)} training images, {args.fraction:g} % of their patients labelled, {args.draws} draws")
    for name, values in features(opened, pool).items():
        found = [scored(values, pool, rows, draw) for (_, draw), rows in prepared.draws.items()]
        losses, areas = zip(*found, strict=True)
        print(
            f"{name:40} log loss {np.mean(losses):.4f} [{min(losses):.4f}, {max(losses):.4f}]  "
            f"AUROC {np.mean(areas):.4f} [{min(areas):.4f}, {max(areas):.4f}]",
            flush=True,
        )


if __name__ == "__main__":
    main()
