"""Two processes (gloo) are one: losses, weights and buffers of 50 steps equal those of one process, in float64.

Gradients are averaged by hand here; `tests/training/test_several.py` has the loop's own way.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from medssl import methods
from medssl.backbones.parts.synced import SyncedBatchNorm, synchronise
from medssl.methods.parts.gather import gather_rows

SCRIPT = Path(__file__).with_name("two_processes.py")
_SPEC = importlib.util.spec_from_file_location("two_processes", SCRIPT)
script = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(script)


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT)]
    processes = [
        subprocess.Popen([*command, str(rank), "2", str(folder)], env=environment, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=240)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize(
    ("name", "family", "dims"), [*((*pair, 2) for pair in script.PAIRS), *((*pair, 3) for pair in script.VOLUMES)]
)
def test_two_processes_are_one(of_two, name, family, dims):
    one = script.train(name, family, slice(None), dims=dims)
    assert one["losses"].std() > 0
    for other in (rank[f"{name} {family} {dims}"] for rank in of_two):
        torch.testing.assert_close(other["losses"], one["losses"], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(other["state"], one["state"], atol=1e-5, rtol=1e-5)


def test_every_method_is_here():
    assert {name.split()[0] for name, _ in script.PAIRS} == set(methods.names())


def test_alone_rows_are_returned_as_they_are():
    x = torch.randn(3, 2)
    assert gather_rows(x) is x


def test_alone_a_synchronised_norm_is_the_one_it_replaced():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm2d(3)))
    x = torch.randn(4, 1, 8, 8)
    expected = plain(x)
    names, weights = list(plain.state_dict()), list(plain.parameters())
    synced = synchronise(plain)
    assert isinstance(synced[1], SyncedBatchNorm)
    assert isinstance(synced[2][0], SyncedBatchNorm)
    assert list(synced.state_dict()) == names
    assert all(a is b for a, b in zip(synced.parameters(), weights, strict=True))
    torch.testing.assert_close(synced(x), expected)
