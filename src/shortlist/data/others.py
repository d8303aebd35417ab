"""Targets to what else their users like, where the order of events says nothing.

It knows no model.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from shortlist.contracts import Interactions, Requests


class Others:
    """For each event, some other events of its row, drawn anew in each epoch: it depends on (seed, epoch) alone."""

    def __init__(self, events: Interactions, *, seed: int) -> None:
        self._events, self._rows, self._seed = events, events.rows(), seed
        self._epoch: tuple[int, Tensor, Tensor] | None = None

    def beside(self, requests: Requests, events: Tensor, *, epoch: int, most: int) -> Requests:
        """The requests (B,) with up to ``most`` events of their rows as history, but not the ``events`` (B,) themselves."""
        mixed, place = self._mixed(epoch)
        rows = self._rows[events]
        size, begins = self._events.lengths[rows], self._events.offsets[rows]
        length = (size - 1).clamp(max=most)
        steps = torch.arange(int(length.max()) if len(length) else 0)  # (T,)
        inside = steps < length[:, None]  # (B, T)
        after = (place[events] - begins + 1)[:, None] + steps  # those that come next in the row, which begins again
        chosen = mixed[begins[:, None] + after % size[:, None]]
        times = self._events.times
        return replace(
            requests,
            history=torch.where(inside, self._events.items[chosen].long(), 0),
            length=length,
            history_time=None if times is None else torch.where(inside, times[chosen], 0),
        )

    def _mixed(self, epoch: int) -> tuple[Tensor, Tensor]:
        """The events (E,) with those of each row in random order, and where each event stands in it (E,)."""
        if self._epoch is None or self._epoch[0] != epoch:
            generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
            drawn = torch.randperm(len(self._events), generator=generator)
            mixed = drawn[torch.sort(self._rows[drawn], stable=True).indices]
            place = torch.empty_like(mixed)
            place[mixed] = torch.arange(len(mixed))
            self._epoch = (epoch, mixed, place)
        return self._epoch[1:]
