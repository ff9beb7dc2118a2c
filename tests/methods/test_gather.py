import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import torch

from medssl.chance import Chance
from medssl.methods.parts.gather import gather_rows

SCRIPT = Path(__file__).with_name("two_processes.py")


def _script():
    spec = importlib.util.spec_from_file_location("two_processes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_alone_rows_are_returned_as_they_are():
    x = torch.randn(3, 2)
    assert gather_rows(x) is x


def test_two_processes_have_the_loss_and_gradients_of_one(tmp_path):
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT)]
    processes = [
        subprocess.Popen([*command, str(rank), "2", str(tmp_path)], env=environment, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    script = _script()
    method, views = script.method_and_views()
    loss = method(views, Chance(list(range(script.IMAGES))))["loss"]
    loss.backward()
    one = script.result(method, loss)
    for rank in range(2):
        other = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(other["loss"], one["loss"], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(other["gradients"], one["gradients"], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(other["buffers"], one["buffers"], atol=1e-5, rtol=1e-4)
