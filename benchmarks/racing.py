"""Fair timing on a shared machine: one thread, contestants interleaved (A B C A B C ...), CPU time, medians.

A ratio is taken within a round, where both contestants met the same machine, and printed with its range over rounds.
"""

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import torch

Seconds = dict[str, list[float]]

_INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def race(contestants: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 1) -> Seconds:
    """Return the CPU seconds of each contestant in each round."""
    torch.set_num_threads(1)
    for _ in range(warmup):
        for call in contestants.values():
            call()
    seconds: Seconds = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():
            start = time.process_time()
            call()
            seconds[name].append(time.process_time() - start)
    return seconds


def rates(seconds: Seconds, work: Mapping[str, float]) -> dict[str, list[float]]:
    """Return units of work a second, for contestants whose calls do so many each."""
    return {name: [work[name] / one for one in times] for name, times in seconds.items()}


def ratio(above: list[float], below: list[float]) -> str:
    """Return the median over rounds of above / below, with its range: '1.02 (0.99 to 1.05)'."""
    return spread([a / b for a, b in zip(above, below, strict=True)])


def spread(values: list[float]) -> str:
    """Return the median of some values with their range, three digits each."""
    low, middle, high = (f"{value:#.3g}".rstrip(".") for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low} to {high})"


def show(title: str, measured: Mapping[str, list[float]], unit: str) -> None:
    """Print a contestant a line."""
    print(title)
    for name, values in measured.items():
        print(f"  {name:28} {spread(values)} {unit}")


def show_machine(*packages: str) -> None:
    """Print the processor, its instruction sets and the versions that figures depend on."""
    found = [name for name in _INSTRUCTIONS if name in processor_flags()]
    versions = [f"{name} {version(name)}" for name in ("torch", "numpy", *packages)]
    print(f"{_model()}, {' '.join(found) or 'none of ' + ' '.join(_INSTRUCTIONS)}; Python {platform.python_version()},")
    print(f"{', '.join(versions)}; one thread, CPU time, median and range over rounds")


def processor_flags() -> set[str]:
    """Return the instruction sets that the processor names, nothing where the system does not say."""
    return set(_line("flags").split())


def _model() -> str:
    return _line("model name") or platform.machine()


def _line(name: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
