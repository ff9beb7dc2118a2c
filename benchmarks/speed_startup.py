"""How long until a command does something? Fresh processes: help, the first file of a scan, the first training step.

    OMP_NUM_THREADS=1 python benchmarks/speed_startup.py

The real command runs and is ended at the moment in question: when it opens the first file of the scanned folder, or
when `Training` takes its first step (images read, device and presets chosen, features looked at once). Wall and CPU
time (user and system) of the process, files in the page cache; the store was packed before.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

from racing import show_machine, spread

_COMMAND = "from medssl.cli.main import main; main()"
_TO_FIRST_FILE = """
import os, sys
def watch(event, arguments):
    if event == "open" and str(arguments[0]).endswith(".dcm"):
        os._exit(77)
sys.addaudithook(watch)
"""
_TO_FIRST_STEP = """
import os
from medssl.training.loop import Training
Training._take_step = lambda *_: os._exit(77)
"""
BARS = {"help": 0.3, "scan": 0.7, "pretrain": 4.0}


def main(patients: int, rounds: int) -> None:
    """Write a cohort, pack its store, and time each command."""
    show_machine("typer", "accelerate")
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        cases = {
            "help": ("", 0, ["--help"]),
            "scan": (_TO_FIRST_FILE, 77, ["scan", "cohort/device-a"]),
            "pretrain": (_TO_FIRST_STEP, 77, _pretrain("device-a.parquet")),
        }
        run("", 0, ["phantom", "oct", "cohort", "--patients", str(patients)])
        run("", 0, ["scan", "cohort/device-a", "--labels", "cohort/device-a/labels.csv", "-o", "device-a.parquet"])
        run(*cases["pretrain"])
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
        for turn in range(rounds + 1):  # the first warms the page cache
            for name, case in cases.items():
                measured = run(*case)
                times[name] += [measured] if turn else []
    for name, measured in times.items():
        wall, cpu = ([one[place] for one in measured] for place in (0, 1))
        print(f"{name:9} wall {spread(wall)} s, CPU {spread(cpu)} s, bar {BARS[name]} s")


def run(before: str, code: int, arguments: list[str]) -> tuple[float, float]:
    """Run the command in a fresh process; return its wall and CPU seconds.

    Raises:
        RuntimeError: It did not end as it should.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", before + _COMMAND, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != code:
        raise RuntimeError(f"medssl {' '.join(arguments)} ended with {process.returncode}, not {code}")
    return wall, used.ru_utime + used.ru_stime


def _pretrain(manifest: str) -> list[str]:
    return ["pretrain", "--modality", "oct", "--method", "mae", "--data", manifest, "--resume", "-o", "run"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    main(chosen.patients, chosen.rounds)
