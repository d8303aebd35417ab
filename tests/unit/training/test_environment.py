from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from shortlist.contracts import Examples, FeatureLayout, Features, Ragged, Requests
from shortlist.errors import TrainingError
from shortlist.training import Training, environment, train
from shortlist.training.environment import run_apart, step_seed
from shortlist.training.examples import digest, move

CPU = torch.device("cpu")


def test_seeds_of_neighbouring_steps_differ_in_their_low_bits() -> None:
    seeds = {step_seed(seed, epoch, step) % 2**32 for seed in range(10) for epoch in range(10) for step in range(100)}
    assert len(seeds) >= 9_999  # torch's CPU generator reads 32 bits; 10,000 draws of 2**32 meet with a chance of 1 %
    assert max(seeds) > 2**31


def test_denormals_are_flushed_in_every_worker_whatever_ran_before() -> None:
    tiny = torch.full((1 << 20,), 1e-38)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert bool((tiny * 0.01 != 0).all())  # and the caller's workers are running
        flushed = run_apart(lambda _: int((tiny * 0.01).view(torch.int32).count_nonzero()), threads=2, device=CPU)
        assert flushed == 0
        assert bool((tiny * 0.01 != 0).all())
    finally:
        torch.set_num_threads(threads)


def test_ctrl_c_reaches_the_caller_once_the_work_has_stopped() -> None:
    steps: list[int] = []

    def work(is_stopped: Callable[[], bool]) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        while not is_stopped():
            steps.append(1)
            time.sleep(0.005)
        steps.append(-1)

    with pytest.raises(KeyboardInterrupt):
        run_apart(work, threads=1, device=CPU)
    assert steps[-1] == -1


def test_an_interrupted_run_goes_on_from_the_step_where_it_stopped(
    line: Callable[..., Any], batches: Callable[..., Any], tmp_path: Any
) -> None:
    settings = Training(epochs=1, learning_rate=0.01, threads=1)
    whole, resumed, data = line(0.5), line(0.5), batches(num_steps=400)
    train(whole, data, settings=settings)

    class Interrupting:
        num_steps = 400
        calls = 0

        def get(self, epoch: int, step: int) -> Examples:
            self.calls += 1
            if self.calls == 4:
                os.kill(os.getpid(), signal.SIGINT)
            if self.calls >= 4:
                time.sleep(0.01)  # until the caller's thread has seen it
            return data.get(epoch, step)

    with pytest.raises(KeyboardInterrupt):
        train(line(0.5), Interrupting(), settings=settings, run_dir=tmp_path)
    assert (tmp_path / "checkpoint.safetensors").exists()
    train(resumed, data, settings=settings, run_dir=tmp_path)
    assert torch.equal(resumed.table.weight, whole.table.weight)


def test_an_error_of_the_work_is_the_callers() -> None:
    def work(_: Callable[[], bool]) -> None:
        raise TrainingError("as it is")

    with pytest.raises(TrainingError, match="as it is"):
        run_apart(work, threads=None, device=CPU)


def _examples(value: int) -> Examples:
    tags = Ragged(torch.tensor([1, 2, value]), torch.tensor([0, 1, 3]))
    features = Features(FeatureLayout(multi=(9,), numeric=1), multi=(tags,), numeric=torch.zeros(2, 1))
    return Examples(
        Requests(user=torch.tensor([1, 2]), user_features=features),
        torch.tensor([[3], [4]]),
        targets=torch.ones(2, 1).bool(),
    )


def test_a_digest_sees_values_deep_inside() -> None:
    assert digest(_examples(5)) == digest(_examples(5))
    assert digest(_examples(5)) != digest(_examples(6))


def test_moving_reaches_every_tensor_and_keeps_the_rest() -> None:
    moved = move(_examples(5), torch.device("meta"))
    features = moved.requests.user_features
    assert features is not None
    assert features.numeric is not None
    tensors = [
        moved.items,
        moved.targets,
        moved.requests.user,
        features.numeric,
        features.multi[0].values,
        features.multi[0].offsets,
    ]
    assert {tensor.device.type for tensor in tensors if tensor is not None} == {"meta"}
    assert (moved.weights, features.layout) == (None, FeatureLayout(multi=(9,), numeric=1))


@pytest.mark.parametrize("fails", [False, True])
def test_freed_memory_is_kept_while_work_is_done_and_given_back_after_it(
    fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = list[tuple[int, ...]]()

    class Library:
        omp_pause_resource_all = staticmethod(lambda _: 0)
        mallopt = staticmethod(lambda *limit: calls.append(limit))
        malloc_trim = staticmethod(lambda *_: calls.append(()))

    def work(_: Any) -> None:
        assert calls == list(environment._KEEPING.items())
        if fails:
            raise ValueError("no")

    monkeypatch.setattr(environment.ctypes, "CDLL", lambda _: Library)
    with contextlib.suppress(ValueError):
        run_apart(work, threads=1, device=CPU)
    assert calls[3:] == [*environment._USUAL.items(), ()]


def test_another_c_library_keeps_memory_as_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.ctypes, "CDLL", lambda _: object())
    assert run_apart(lambda _: 7, threads=1, device=CPU) == 7
