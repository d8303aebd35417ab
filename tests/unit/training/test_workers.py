"""Training starts with OpenMP's workers its own: those of the caller do not slow it, and come back afterwards."""

from __future__ import annotations

import threading

import torch

from shortlist.training.environment import run_apart


def test_the_callers_parallel_work_goes_on_after_training() -> None:
    values = torch.arange(1_000_000, dtype=torch.float64)
    before = values.sum()

    def work(_: object) -> tuple[str, torch.Tensor]:
        return threading.current_thread().name, values.sum()

    name, during = run_apart(work, threads=2, device=torch.device("cpu"))
    assert name == "training"
    assert torch.equal(before, during)
    assert torch.equal(before, values.sum())
