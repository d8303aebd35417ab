"""Batches by number to batches on their device, made ahead of the steps that need them where a device would wait.

It knows neither the data nor the model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from shortlist.contracts import Batches, Examples
from shortlist.training.examples import move

__all__ = ["in_order"]

MAKERS = 3  # threads that make batches: a GPU is often through with one sooner than a thread is with the next


def in_order(batches: Batches, *, epoch: int, start: int, device: torch.device, ahead: bool) -> Iterator[Examples]:
    """The batches of an epoch from step ``start`` on, on ``device``.

    On the CPU each is made when it is asked for, and so it is without ``ahead``, which is for batches that depend on
    what the network has learnt. Otherwise some threads make the next ones in the meantime.
    """
    steps = range(start, batches.num_steps)
    if device.type == "cpu":
        yield from (batches.get(epoch, step) for step in steps)
        return

    def make(step: int) -> Examples:
        return move(batches.get(epoch, step), device)

    if not ahead:
        yield from map(make, steps)
        return
    waiting: deque[Future[Examples]] = deque()
    with ThreadPoolExecutor(MAKERS, thread_name_prefix="batches") as makers:
        try:
            for step in steps:
                if step == start:  # what an epoch's batches share is made once, not by every thread
                    yield make(step)
                    continue
                waiting.append(makers.submit(make, step))
                if len(waiting) > 2 * MAKERS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()
