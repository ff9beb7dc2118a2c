"""What `medssl doctor` looks at: packages, devices, decoders, memory and places."""

import importlib.metadata
import io
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import platformdirs
import psutil

from medssl import __version__

PACKAGES = ("torch", "monai", "pydicom", "highdicom", "nibabel", "SimpleITK", "imagecodecs", "scikit-learn", "pandas")


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        mark: "ok", "note" (works, but worth knowing) or "FAIL" (a run would stop).
        subject: What was looked at.
        text: What was found.
        fix: What to do about it, empty when all is well.
    """

    mark: str
    subject: str
    text: str
    fix: str = ""


def examine() -> list[Finding]:
    """Look at everything; no check can end the others."""
    checks: list[Callable[[], Iterator[Finding]]] = [_versions, _devices, _precision, _decoders, _memory, _places]
    findings: list[Finding] = []
    for check in checks:
        try:
            findings.extend(check())
        except Exception as error:
            name = check.__name__.strip("_")
            findings.append(Finding("FAIL", name, f"could not be checked: {error}", "Reinstall medssl"))
    return findings


def _versions() -> Iterator[Finding]:
    fix = "" if sys.version_info >= (3, 11) else "Use Python 3.11 or newer"
    yield Finding("FAIL" if fix else "ok", "python", platform.python_version(), fix)
    yield Finding("ok", "medssl", __version__)
    for package in PACKAGES:
        try:
            yield Finding("ok", package, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            yield Finding("FAIL", package, "not installed", f"pip install {package} -c constraints.txt")


def _devices() -> Iterator[Finding]:
    import torch

    yield Finding("ok", "processor", f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores usable")
    present = _gpus_present()
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            name = torch.cuda.get_device_name(index)
            yield _gpu_computes(index, f"{name}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free")
    elif present:
        built = torch.version.cuda or "none"
        fix = "Install a torch build with CUDA whose driver version this machine has; see docs/docker.md"
        yield Finding("FAIL", "gpu", f"present ({present}) but torch cannot use it (torch's CUDA: {built})", fix)
    else:
        yield Finding("note", "gpu", "none found; work runs on the processor")


def _gpus_present() -> str:
    if not shutil.which("nvidia-smi"):
        return ""
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)
    return listed.stdout.splitlines()[0] if listed.returncode == 0 and listed.stdout else ""


def _gpu_computes(index: int, text: str) -> Finding:
    import torch

    try:
        ones = torch.ones(8, 8, device=f"cuda:{index}")
        if float((ones @ ones).sum()) == 512.0:
            return Finding("ok", f"gpu {index}", text)
        problem = "computes wrong results"
    except RuntimeError as error:
        problem = f"cannot compute: {str(error).splitlines()[0]}"
    return Finding(
        "FAIL", f"gpu {index}", f"{text}; {problem}", "Install a torch build for this card; see docs/docker.md"
    )


def _precision() -> Iterator[Finding]:
    import torch

    def seconds(kind: torch.dtype) -> float:
        a = torch.randn(384, 384).to(kind)
        torch.mm(a, a)
        start = time.perf_counter()
        torch.mm(a, a)
        return time.perf_counter() - start

    single, half = seconds(torch.float32), seconds(torch.bfloat16)
    verdict = "faster than float32" if half < single else "slower than float32; float32 is used"
    rate = 2 * 384**3 / single / 1e9
    yield Finding("ok", "arithmetic", f"float32 {rate:.0f} GFLOP/s; bfloat16 on this processor is {verdict}")


def _decoders() -> Iterator[Finding]:
    from PIL import Image
    from pydicom.pixels import get_decoder
    from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, RLELossless

    for name, syntax in [
        ("JPEG", JPEGBaseline8Bit),
        ("JPEG lossless", JPEGLosslessSV1),
        ("JPEG-LS", JPEGLSLossless),
        ("JPEG 2000", JPEG2000Lossless),
        ("RLE", RLELossless),
    ]:
        plugins = get_decoder(syntax).available_plugins
        mark, fix = ("ok", "") if plugins else ("note", f"DICOM files in {name} become rows with this reason in a scan")
        yield Finding(mark, f"DICOM {name}", ", ".join(plugins) or "no decoder", fix)
    picture = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(picture, "PNG")
    with Image.open(io.BytesIO(picture.getvalue())) as image:
        yield Finding("ok", "PNG", f"{image.width}x{image.height} read back")


def _memory() -> Iterator[Finding]:
    free = psutil.virtual_memory().available / 2**30
    fix = "" if free > 2 else "Close other programs, or use a smaller batch and image size"
    yield Finding("ok" if free > 2 else "note", "memory", f"{free:.1f} GiB available", fix)


def _places() -> Iterator[Finding]:
    cache = Path(os.environ.get("MEDSSL_CACHE_DIR") or platformdirs.user_cache_dir("medssl"))
    variables = {"working folder": "-o", "cache": "MEDSSL_CACHE_DIR", "temporary": "TMPDIR"}
    places = {"working folder": Path.cwd(), "cache": cache, "temporary": Path(tempfile.gettempdir())}
    for name, place in places.items():
        existing = place
        while not existing.exists():
            existing = existing.parent
        free = shutil.disk_usage(existing).free / 2**30
        writable = os.access(existing, os.W_OK)
        fix = "" if writable else f"Choose another place with {variables[name]}"
        yield Finding("ok" if writable else "FAIL", name, f"{place}, {free:.0f} GiB free", fix)
