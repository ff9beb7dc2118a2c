"""How hard is the synthetic OCT cohort? AUROC of the sweep's `scratch`, `pixels` and `shortcut`, in and out of it.

    python benchmarks/phantom_difficulty.py --cohorts 2 --seeds 2

These three alone set the phantom's parameters; nothing here is pretrained. All labels are used, the network is the
one that `--preset auto` takes on a CPU. Some five minutes a cohort on one core.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from medssl.backbones import names, vit
from medssl.data.manifest import Manifest
from medssl.data.phantom import oct as phantom
from medssl.data.scan import scan
from medssl.evaluation import cohort, learners, plan
from medssl.evaluation.arms import Recipe
from medssl.evaluation.shortcut import device_names
from medssl.metrics import auroc
from medssl.training.device import open_device

RECIPE = Recipe("oct", 64)
Learner = learners.ProbeLearner | learners.TrainingLearner


def bench(folder: Path, patients: int, seed: int, steps: int) -> learners.Bench:
    """Write a cohort and pack it as a sweep would."""
    made = phantom.generate(folder / "cohort", patients=patients, seed=seed)
    cohorts = {}
    for name, site in made.sites.items():
        path = folder / f"{name}.parquet"
        scan([site], labels=made.labels[name]).save(path)
        known, _ = cohort.labelled(Manifest.load(path), cohort.LabelSpec("disease"))
        cohorts[name] = cohort.gather(known, known.table, name, "id", [RECIPE], lambda *_: None)
    first = cohorts["device-a"]
    train = (first.table["split"] == "train").to_numpy(bool)
    tests = {"id": first.take(np.flatnonzero(~train)), "ood": cohorts["device-b"]}
    budget = plan.resolve_budget({"learning_rates": [2e-3], "steps": steps}, "cpu")
    return learners.Bench(first.take(np.flatnonzero(train)), tests, folder / "sweep", open_device("cpu"), budget, seed)


def arms(here: learners.Bench) -> dict[str, Learner]:
    """Return the arms that need no pretraining and are not `random`."""
    family = names()["vit_nano"]
    settings = {**vit.VARIANTS["vit_nano"], "patch_size": 8}
    architecture = learners.Architecture(family, "vit_nano", settings, 1, 2, (64, 64), RECIPE)
    devices = tuple(sorted(set(device_names(here.pool.table))))
    return {
        "pixels": learners.ProbeLearner((learners.PixelFeatures(RECIPE),)),
        "shortcut": learners.ProbeLearner((learners.ShortcutFeatures(RECIPE, devices),)),
        "scratch": learners.scratch(architecture),
    }


def measure(here: learners.Bench, learner: Learner, seed: int) -> tuple[dict[str, float], str]:
    """Return AUROC in and out of distribution with all labels, and what it took."""
    began = time.process_time()
    scores, choice = learner.learn(here, np.arange(len(here.pool)), seed)
    values = {name: auroc.compute(here.tests[name].table["target"].to_numpy(), scores[name]) for name in scores}
    steps = f", {choice['steps']} steps, at limit: {choice['at_limit']}" if "steps" in choice else ""
    return values, f"({time.process_time() - began:.0f} CPU s{steps})"


def main() -> None:
    """Print one row an arm, cohort and seed, then the ranges."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=2, help="seeds of the cohort, from 0")
    parser.add_argument("--seeds", type=int, default=2, help="seeds of training from scratch, from 0")
    parser.add_argument("--patients", type=int, default=phantom.PATIENTS)
    parser.add_argument("--steps", type=int, default=400, help="the most steps of a training")
    args = parser.parse_args()
    found: dict[tuple[str, str], list[float]] = {}
    for cohort_seed in range(args.cohorts):
        with tempfile.TemporaryDirectory() as folder:
            here = bench(Path(folder), args.patients, cohort_seed, args.steps)
            for arm, learner in arms(here).items():
                for seed in range(args.seeds if arm == "scratch" else 1):
                    values, said = measure(here, learner, seed)
                    for name, value in values.items():
                        found.setdefault((arm, name), []).append(value)
                    figures = " ".join(f"{name} {value:.3f}" for name, value in values.items())
                    print(f"cohort {cohort_seed} {arm:9} {figures} {said}", flush=True)
    for (arm, name), numbers in found.items():
        print(
            f"{arm:9} {name:3} mean {np.mean(numbers):.3f} [{min(numbers):.3f}, {max(numbers):.3f}] of {len(numbers)}"
        )


if __name__ == "__main__":
    main()
