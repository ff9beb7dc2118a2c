"""Children work, and one that crashes, hangs or swells costs its item only."""

import ctypes
import math
import mmap
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from medssl.data.apart import _IDLE, Lost, _mark, blocks, each
from medssl.errors import DataError


def crash(_: int) -> None:
    ctypes.string_at(0)


def hang(_: int) -> None:
    time.sleep(60)


def swell(_: int) -> None:
    bytearray(3 * 2**29)


def leave(_: int) -> None:
    os._exit(3)


def refuse(_: int) -> None:
    raise DataError("It is a teapot", fix="Read tea")


def fail(_: int) -> None:
    raise ValueError("no")


def slow(number: int) -> int:
    time.sleep(0.4)
    return number


def own_pid(_: int) -> int:
    return os.getpid()


def only(bad: int, trouble):
    def work(number: int) -> int:
        if number == bad:
            trouble(number)
        return number * number

    return work


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (crash, "SIGSEGV"),
        (hang, "takes longer than 0.5 s"),
        (swell, "more than 1.0 GiB"),
        (leave, "exit code 3"),
        (refuse, "It is a teapot"),
        (fail, "ValueError"),
    ],
)
def test_one_bad_item_is_named_and_the_others_are_done_in_order(trouble, said, processes):
    results = list(each(only(5, trouble), range(12), processes=processes, seconds=0.5))
    assert isinstance(results[5], Lost)
    assert said in results[5].reason
    assert results[:5] + results[6:] == [n * n for n in range(12) if n != 5]


def test_every_item_may_be_bad():
    results = list(each(crash, range(6), processes=2))
    assert [type(result) for result in results] == [Lost] * 6


def test_large_results_and_many_items_come_through_in_order():
    assert [len(result) for result in each(bytes, [n * 10_000 for n in range(200)], processes=2)] == [
        n * 10_000 for n in range(200)
    ]


def test_several_children_work_and_none_is_left():
    pids = set(each(own_pid, range(400), processes=2))
    assert os.getpid() not in pids
    assert len(pids) == 2
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_consumer_that_stops_leaves_no_child():
    results = each(own_pid, range(50), processes=2)
    pid = next(results)
    results.close()
    assert not psutil.pid_exists(pid)


def test_a_slow_consumer_loses_nothing():
    seen = []
    for result in each(only(-1, fail), range(6), processes=2, seconds=0.2):
        time.sleep(0.3)
        seen.append(result)
    assert seen == [0, 1, 4, 9, 16, 25]


def test_nothing_is_nothing():
    assert list(each(crash, [])) == []


def test_children_of_a_parent_that_is_killed_end():
    code = (
        "import time; from tests.data.test_apart import own_pid; from medssl.data.apart import each\n"
        "results = each(own_pid, range(400), processes=2)\n"
        "pids = {next(results) for _ in range(400)}\n"  # the generator stays open: the children wait
    )
    run = subprocess.Popen([sys.executable, "-c", f"{code}print(*pids, flush=True); time.sleep(60)"], stdout=-1)
    pids = [int(word) for word in run.stdout.readline().split()]
    run.kill()
    run.wait()
    run.stdout.close()
    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert pids


def test_results_are_put_together_in_the_child_and_nothing_is_lost():
    found = list(blocks(only(5, crash), range(1000), list, size=64, processes=2))
    lost = [block for block in found if isinstance(block.value, Lost)]
    assert [(block.start, block.size) for block in lost] == [(5, 1)]
    assert "SIGSEGV" in lost[0].value.reason
    done = {block.start + k: value for block in found if block not in lost for k, value in enumerate(block.value)}
    assert done == {n: n * n for n in range(1000) if n != 5}
    assert max(block.size for block in found) == 64


def test_a_slow_batch_is_handed_over_in_parts():
    found = list(blocks(slow, range(8), list, size=8, processes=1, seconds=5))
    assert sum(block.size for block in found) == 8
    assert len(found) > 2


def test_what_a_child_works_on_is_never_read_half_written():
    shared = memoryview(mmap.mmap(-1, 16)).cast("d")
    states = [(7, 34_567.123456789), _IDLE]
    _mark(shared, *states[0])
    child = os.fork()
    if not child:
        while True:
            for state in states:
                _mark(shared, *state)
    try:
        read = {(int(shared[0]), shared[1]) for _ in range(300_000)}
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert {number for number, _ in read} <= {7, -1}
    assert {since for _, since in read} <= {34_567.123456789, math.inf}
