"""Batches made ahead are the batches made one by one, in the same order, and no more of them than were asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

from shortlist.contracts import Examples
from shortlist.training import ahead
from shortlist.training.ahead import in_order

Make = Callable[..., Any]
ELSEWHERE = torch.device("meta")  # every torch has it; it holds no values, so the tests leave batches where they are


class Watched:
    """Notes which step was made in which thread."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.num_steps, self.made = inner, inner.num_steps, list[tuple[int, str]]()

    def get(self, epoch: int, step: int) -> Examples:
        self.made.append((step, threading.current_thread().name))
        return self.inner.get(epoch, step)


@pytest.fixture
def watched(batches: Make, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(ahead, "move", lambda examples, device: examples)
    return Watched(batches(num_steps=40))


@pytest.mark.parametrize(("device", "is_ahead"), [("cpu", True), ("meta", False), ("meta", True)])
def test_they_come_in_order_from_any_step_on(device: str, is_ahead: bool, watched: Watched) -> None:
    found = list(in_order(watched, epoch=3, start=7, device=torch.device(device), ahead=is_ahead))
    assert len(found) == 33
    for step, examples in enumerate(found, start=7):
        assert torch.equal(examples.items, watched.inner.get(3, step).items)
    here = threading.current_thread().name
    others = {step for step, thread in watched.made if thread != here}
    assert others == (set(range(8, 40)) if is_ahead and device != "cpu" else set())


def test_batches_that_follow_the_network_are_made_when_their_step_begins(watched: Watched) -> None:
    made = in_order(watched, epoch=0, start=0, device=ELSEWHERE, ahead=False)
    for step in range(3):
        next(made)
        assert [number for number, _ in watched.made] == list(range(step + 1))


def test_an_epoch_that_is_left_early_makes_only_a_few_more(watched: Watched) -> None:
    made = in_order(watched, epoch=0, start=0, device=ELSEWHERE, ahead=True)
    for _ in range(3):
        next(made)
    made.close()
    assert 3 <= len(watched.made) <= 3 + 2 * ahead.MAKERS + 1


def test_a_batch_that_cannot_be_made_is_the_loops_to_see(watched: Watched) -> None:
    def fail(epoch: int, step: int) -> Examples:
        if step == 12:
            raise ValueError("step 12")
        return Watched.get(watched, epoch, step)

    watched.get = fail  # type: ignore[method-assign]
    made = in_order(watched, epoch=0, start=0, device=ELSEWHERE, ahead=True)
    for _ in range(12):
        next(made)
    with pytest.raises(ValueError, match="step 12"):
        next(made)
