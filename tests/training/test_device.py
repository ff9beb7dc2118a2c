import ctypes
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from medssl.errors import SettingsError
from medssl.training import device


def test_cpu_can_be_opened_again_and_again():
    for _ in range(3):
        opened = device.open_device("cpu")
        assert (opened.target.type, opened.rank, opened.world, opened.precision) == ("cpu", 0, 1, "fp32")
    assert opened.place(nn.Linear(1, 1)).weight.device.type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_a_sentence():
    with pytest.raises(SettingsError, match="sees no GPU"):
        device.open_device("cuda")


def test_another_device_is_refused_by_name():
    with pytest.raises(SettingsError, match="'tpu'"):
        device.open_device("tpu")


@pytest.mark.parametrize(("speedup", "expected"), [(0.02, "fp32"), (1.1, "fp32"), (2.0, "bf16")])
def test_bf16_only_where_it_is_faster(monkeypatch, speedup, expected):
    monkeypatch.setattr(device, "bf16_speedup", lambda kind: speedup)
    assert device.open_device("cpu", "auto").precision == expected


def test_autocast_follows_the_precision(monkeypatch):
    linear, x = nn.Linear(2, 2), torch.ones(1, 2)
    with device.open_device("cpu", "bf16").autocast():
        assert linear(x).dtype == torch.bfloat16
    with device.open_device("cpu", "fp32").autocast():
        assert linear(x).dtype == torch.float32


def test_the_clock_of_products_gives_a_plausible_rate():
    assert 1e8 < device.gemm_flops("cpu", size=256) < 1e13


def test_accelerate_settings_in_the_environment_change_nothing(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    assert device.join_peers(on_cpu=True).mixed_precision == "no"
    assert device.open_device("cpu").accelerator is None  # a single process does without


_FAULTS = """
import resource, sys, torch
from medssl.training import device
torch.set_num_threads(1)
if sys.argv[1] == "keep":
    device.keep_freed_memory()
torch.empty(2**24).fill_(1.0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.empty(2**23).fill_(1.0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="no glibc here")
def test_freed_memory_is_kept_for_the_next_tensor():
    def faults(what, **variables):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
        command = [sys.executable, "-c", _FAULTS, what]
        return int(subprocess.run(command, env=environment | variables, capture_output=True, check=True).stdout)

    pages = 2**25 // os.sysconf("SC_PAGE_SIZE")
    assert faults("keep") < pages / 100
    assert faults("leave") > pages / 2
    assert faults("keep", MALLOC_TOP_PAD_="131072") > pages / 2  # the user has a say
