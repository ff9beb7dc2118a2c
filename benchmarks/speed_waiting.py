"""How much of a pretraining step is spent waiting for data? A short real run on the synthetic cohort.

    OMP_NUM_THREADS=1 python benchmarks/speed_waiting.py

`medssl.pretrain` runs as always; the share is what its own clock writes into metrics.jsonl, in wall time, since
waiting is not work. The smallest network (vit_nano, 64 x 64) is the hardest case: its steps are the shortest. Views
are made inside the step, on its device; their share of it (CPU time) is printed too, so that nothing hides there.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from racing import show_machine, spread

import medssl
from medssl.data import builtin
from medssl.training import pretraining

CASES = [("mae", "vit_nano"), ("simclr", "resnet18")]


def main(patients: int, epochs: int) -> None:
    """Write a cohort, train briefly with each method, and print."""
    torch.set_num_threads(1)
    show_machine()
    with tempfile.TemporaryDirectory() as scratch:
        manifest = cohort(Path(scratch), patients)
        for method, backbone in CASES:
            train(Path(scratch) / method, manifest, method, backbone, epochs)


def cohort(folder: Path, patients: int) -> Path:
    """Write and scan the phantom; return the manifest of its first device."""
    from medssl.data.phantom import oct as phantom
    from medssl.data.scan import scan

    made = phantom.generate(folder / "phantom", patients=patients)
    site = builtin.IN_DISTRIBUTION
    scan([made.sites[site]], labels=made.labels[site]).save(folder / "cohort.parquet")
    return folder / "cohort.parquet"


def train(out: Path, manifest: Path, method: str, backbone: str, epochs: int) -> None:
    """Pretrain with a method and print its shares."""
    making = Watch("make_views")
    settings = {"train": {"epochs": epochs, "log_every": 5, "warmup_epochs": 0, "batch_size": 32}}
    with making:
        run = medssl.pretrain("oct", method, data=manifest, backbone=backbone, settings=settings, out=out)
    steps = run.metrics.query("kind == 'step'")
    waited = [100 * share for share in steps["data_wait_share"]]
    print(f"{method} {backbone}, {int(steps['step'].max())} steps of {run.settings['train']['batch_size']}:")
    print(f"  waiting for data, over windows of 5 steps: {spread(waited)} %, mean {statistics.mean(waited):.2f} %")
    print(f"  making views, of all CPU time: {100 * making.seconds / making.whole:.1f} %")


class Watch:
    """CPU seconds spent in a function of `medssl.training.pretraining` inside a block, and in the whole block."""

    def __init__(self, name: str) -> None:
        self.name, self.kept, self.seconds, self.whole = name, getattr(pretraining, name), 0.0, 0.0

    def __enter__(self) -> "Watch":
        setattr(pretraining, self.name, self._timed)
        self.whole -= time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.whole += time.process_time()
        setattr(pretraining, self.name, self.kept)

    def _timed(self, *args: object) -> object:
        start = time.thread_time()
        try:
            return self.kept(*args)
        finally:
            self.seconds += time.thread_time() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=10)
    chosen = parser.parse_args()
    main(chosen.patients, chosen.epochs)
