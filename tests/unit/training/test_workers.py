"""Training starts with OpenMP's workers its own: those of the caller are gone by then, and come back when needed."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

import pytest
import torch

from shortlist.training.environment import run_apart

THREADS = Path("/proc/self/task")


def _num_threads() -> int:
    return sum(1 for _ in THREADS.iterdir())


@pytest.mark.skipif(not THREADS.is_dir(), reason="the system does not list a process's threads in /proc")
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "omp_pause_resource_all"), reason="this OpenMP cannot be paused")
def test_the_callers_workers_end_before_training_and_come_back_after() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    values = torch.arange(1_000_000, dtype=torch.float64)
    expected = values.sqrt().sum()  # starts two workers
    started = _num_threads()

    def work(_: object) -> int:
        deadline = time.monotonic() + 5
        while _num_threads() > started - 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        return _num_threads()

    assert run_apart(work, threads=3, device=torch.device("cpu")) == started - 1  # two fewer, and the training thread
    assert torch.equal(values.sqrt().sum(), expected)
    torch.set_num_threads(before)
