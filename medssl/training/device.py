"""Where training runs: device, precision, threads and processes.

Among several processes HF Accelerate starts the group (torchrun, srun), picks the device and wraps the model for DDP.
Every argument is passed, so that nobody's saved Accelerate configuration changes a run. One process does without it:
it keeps one device and one precision for the life of the process, and a program may pretrain on the GPU and sweep on
the CPU. Its data loaders, schedulers and `save_state` are not used: order, schedule and chance are functions of the
step (see `loop`).
"""

import contextlib
import ctypes
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import psutil
import torch
from torch import nn

from medssl.backbones.parts.synced import synchronise
from medssl.errors import SettingsError

if TYPE_CHECKING:
    from accelerate import Accelerator

_FASTER = 1.3  # bf16 must win by this much: what is around the matrix products gets slower
_LEAST_TRIES, _LOOK_SECONDS = 4, 0.05
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # numbers of malloc.h
_WORLD_SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")  # where Accelerate looks


@dataclass(frozen=True)
class Device:
    """A device with its precision, and this process's place among its peers.

    Attributes:
        target: The torch device of this process.
        precision: "fp32" or "bf16" (autocast; weights and optimizer stay fp32).
        accelerator: HF Accelerate's handle on the process group; None in a single process.
    """

    target: torch.device
    precision: str = "fp32"
    accelerator: "Accelerator | None" = None

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        return self.accelerator.process_index if self.accelerator else 0

    @property
    def world(self) -> int:
        """The number of processes."""
        return self.accelerator.num_processes if self.accelerator else 1

    def autocast(self) -> contextlib.AbstractContextManager:
        """Return the context in which losses are computed."""
        if self.precision == "bf16":
            return torch.autocast(self.target.type, torch.bfloat16)
        return contextlib.nullcontext()

    def place(self, module: nn.Module) -> nn.Module:
        """Move a module to the device; among several processes wrap it so that gradients are averaged."""
        module = module.to(self.target)
        if self.accelerator is None:
            return module
        module = synchronise(module) if self.target.type == "cpu" else nn.SyncBatchNorm.convert_sync_batchnorm(module)
        return self.accelerator.prepare_model(module, device_placement=True, evaluation_mode=False)

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """Return the mean over processes."""
        return self.accelerator.reduce(value, reduction="mean") if self.accelerator else value

    def any(self, flag: bool) -> bool:
        """Tell whether the flag is set in any process."""
        if self.accelerator is None:
            return flag
        return bool(self.accelerator.reduce(torch.tensor(float(flag), device=self.target)).item() > 0)

    def share(self, value: Any) -> Any:
        """Return the first process's value in all processes."""
        if self.accelerator is None:
            return value
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value], from_process=0)[0]

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.accelerator:
            self.accelerator.wait_for_everyone()

    @contextlib.contextmanager
    def seeded(self) -> Iterator[None]:
        """Give the caller's global random state back after the block, which may seed it as it likes."""
        devices = [self.target] if self.target.type == "cuda" else []
        with torch.random.fork_rng(devices):
            yield


def open_device(name: str = "auto", precision: str = "fp32") -> Device:
    """Open a device for training.

    Args:
        name: "auto" (CUDA where there is one, else CPU), "cpu" or "cuda".
        precision: "fp32", "bf16" or "auto" (bf16 where a short product of matrices shows that it is faster).

    Raises:
        SettingsError: CUDA was asked for and is not there, or the name is none of these.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise SettingsError(f"Expected device 'auto', 'cpu' or 'cuda', but got '{name}'")
    if name == "cuda" and not torch.cuda.is_available():
        raise SettingsError("train.device is 'cuda', but torch sees no GPU", fix="Use 'auto', or run `medssl doctor`")
    on_cpu = name == "cpu" or not torch.cuda.is_available()
    if on_cpu:
        keep_freed_memory()
    else:
        torch.set_float32_matmul_precision("high")
    accelerator = join_peers(on_cpu=on_cpu) if _several() else None
    if accelerator is not None:
        target = accelerator.device
    else:
        target = torch.device("cpu") if on_cpu else torch.device("cuda", torch.cuda.current_device())
    if precision == "auto":
        precision = "bf16" if bf16_speedup(target.type) >= _FASTER else "fp32"
    return Device(target, precision, accelerator)


def _several() -> bool:
    return any(int(os.environ.get(name, 1)) > 1 for name in _WORLD_SIZES)


def join_peers(*, on_cpu: bool) -> "Accelerator":
    """Join the group of processes that a launcher started."""
    from accelerate import Accelerator

    return Accelerator(
        device_placement=True,
        mixed_precision="no",
        gradient_accumulation_steps=1,
        cpu=on_cpu,
        rng_types=[],
        log_with=None,
        step_scheduler_with_optimizer=False,
        dynamo_backend="no",
    )


@cache
def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for the next tensors, where its C library is glibc.

    By itself glibc gives large blocks back, and the kernel fills every page of the next ones with zeros: a fifth of a
    training step of ResNet-18 at 224 x 224. The price is some 40 % more memory held. Nothing is changed where the user
    has set a `MALLOC_` variable.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and not any(name.startswith("MALLOC_") for name in os.environ):
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


@cache
def gemm_flops(kind: str, dtype: torch.dtype = torch.float32, size: int = 512) -> float:
    """Return floating-point operations a second of one product of square matrices.

    The best of as many as fit into a twentieth of a second, at least four: beside other work most of them are
    interrupted, and a single slow one would decide the precision of a whole run.
    """
    a, b = (torch.ones(size, size, device=kind, dtype=dtype) for _ in range(2))
    best, tries, end = float("inf"), 0, time.perf_counter() + _LOOK_SECONDS
    while tries < _LEAST_TRIES or time.perf_counter() < end:
        tries += 1
        _synchronize(kind)
        start = time.perf_counter()
        a @ b
        _synchronize(kind)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


@cache
def bf16_speedup(kind: str) -> float:
    """Return how many times as fast a bf16 product of matrices is here (0.02 was seen on a CPU without AVX-512)."""
    if kind == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return 0.0
    size = 512 if kind == "cpu" else 4096
    return gemm_flops(kind, torch.bfloat16, size) / gemm_flops(kind, torch.float32, size)


def memory_bytes(kind: str) -> int:
    """Return the memory of the device in bytes: the GPU's, or of the machine (its container's limit not considered)."""
    if kind == "cuda":
        return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    return psutil.virtual_memory().total


def describe(device: Device) -> str:
    """Return the device in words, for provenance and for people."""
    if device.target.type == "cuda":
        return f"{device.world} x {torch.cuda.get_device_name(device.target)}"
    return f"CPU, {torch.get_num_threads()} threads" + (f", {device.world} processes" if device.world > 1 else "")


def _synchronize(kind: str) -> None:
    if kind == "cuda":
        torch.cuda.synchronize()
