"""Pretraining in float64, where only rounding tells two processes from one; as a script, one of several processes.

Usage: float64_run.py RUNS, a JSON list of [modality, method, backbone, manifest, out, settings]
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from medssl.api import pretrain
from medssl.training import pretraining
from medssl.training.device import Device
from medssl.training.estimate import Cost


@contextmanager
def in_float64() -> Iterator[None]:
    """Train in float64 while the block runs: views are made as ever, and then widened; nothing is timed before."""
    place, make_views, plain_view = Device.place, pretraining.make_views, pretraining.plain_view
    with (
        mock.patch.object(pretraining, "measure", return_value=Cost(1e6, 0.01, 0.01, 1e6, 1000)),
        mock.patch.object(Device, "place", lambda self, module: place(self, module.double())),
        mock.patch.object(pretraining, "make_views", lambda *given: [view.double() for view in make_views(*given)]),
        mock.patch.object(pretraining, "plain_view", lambda *given: plain_view(*given).double()),
    ):
        yield


def run(modality: str, method: str, backbone: str, manifest: str, out: str, settings: dict) -> None:
    """Pretrain once."""
    with in_float64():
        pretrain(modality, method, backbone=backbone, data=manifest, out=out, settings=settings)


if __name__ == "__main__":
    for given in json.loads(sys.argv[1]):
        run(*given)
