"""Pretraining that logs the ids and a hash of every view of every step; as a script, one of several processes.

Usage: logged_run.py LOG MANIFEST OUT STOP_AFTER NAME=VALUE ...

With STOP_AFTER above 0 the run is told to stop after that step, and then resumed; so one start of Python is enough.
"""

import hashlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medssl.api import pretrain
from medssl.errors import StoppedError
from medssl.settings import parse_overrides
from medssl.training import pretraining


@contextmanager
def logging_views(log: Path, stop_after: int = 0) -> Iterator[None]:
    """Write a line a step to LOG.RANK while the block runs; ask to stop after a step."""
    make, loss = pretraining.make_views, pretraining.Pretraining.loss
    seen: dict = {}

    def make_views(batch, *args, **kwargs):
        views = make(batch, *args, **kwargs)
        hashes = [[hashlib.sha256(one.cpu().numpy().tobytes()).hexdigest()[:12] for one in view] for view in views]
        seen.update(ids=batch.sample_id, views=list(map(list, zip(*hashes))))
        return views

    def logged_loss(self, module, batch, step):
        result = loss(self, module, batch, step)
        with log.with_suffix(f".{os.environ.get('RANK', '0')}").open("a") as handle:
            handle.write(json.dumps({"step": step, **seen}) + "\n")
        if step + 1 == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    pretraining.make_views, pretraining.Pretraining.loss = make_views, logged_loss
    try:
        yield
    finally:
        pretraining.make_views, pretraining.Pretraining.loss = make, loss


def main(log: str, manifest: str, out: str, stop_after: str, *settings: str) -> None:
    """Run, stop, and resume."""
    with logging_views(Path(log), int(stop_after)):
        try:
            pretrain("oct", "mae", data=manifest, out=out, resume=True, settings=parse_overrides(list(settings)))
        except StoppedError:
            pretrain("oct", "mae", data=manifest, out=out, resume=True, settings=parse_overrides(list(settings)))


if __name__ == "__main__":
    main(*sys.argv[1:])
