"""A network of one matrix, and batches of a linear rule that it can learn."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from shortlist.contracts import Examples, Requests


class Line(nn.Module):
    """Predicts a target from an item's row; the dropout makes it depend on torch's random state."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 4)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(4, 1)

    def loss(self, examples: Examples) -> Tensor:
        predicted = self.out(self.dropout(self.table(examples.items))).squeeze(-1)  # (B, S)
        return nn.functional.mse_loss(predicted, examples.targets)


@dataclass
class LineBatches:
    """Item i has the target i / 10; which items are in a step depends on the epoch and the step."""

    num_steps: int = 5
    size: int = 32
    seed: int = 0

    def get(self, epoch: int, step: int) -> Examples:
        generator = torch.Generator().manual_seed(self.seed * 10_000 + epoch * 100 + step)
        items = torch.randint(20, (self.size, 1), generator=generator)
        return Examples(Requests(user=items[:, 0]), items, targets=items / 10)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny networks gain nothing from threads, and on a busy machine they wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def line() -> Callable[..., Line]:
    def make(dropout: float = 0.0) -> Line:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            return Line(dropout)

    return make


@pytest.fixture
def batches() -> Callable[..., LineBatches]:
    return LineBatches


@pytest.fixture(autouse=True)
def ctrl_c_is_heard() -> Iterator[None]:
    """A process started in the background ignores SIGINT, and Python then raises nothing: tests that send it need it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
