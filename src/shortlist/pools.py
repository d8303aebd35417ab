"""A sample of items that a batch shares, of which each group of its rows meets only a part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Pools:
    """Which candidates each group of rows is compared with.

    Group ``g`` has the rows from ``rows[g]`` up to ``rows[g + 1]``. It meets the candidates before ``own[0]``, as all
    groups do, and those from ``own[g]`` up to ``own[g + 1]``. A *column* counts a group's candidates in this order.
    """

    rows: tuple[int, ...]  # (G+1,)
    own: tuple[int, ...]  # (G+1,)

    @classmethod
    def one(cls, num_rows: int, num_candidates: int) -> Pools:
        """Every row meets every candidate."""
        return cls((0, num_rows), (num_candidates, num_candidates))

    def __iter__(self) -> Iterator[tuple[slice, slice]]:
        """The rows of each group, and the candidates that are its own."""
        for rows, own in zip(pairwise(self.rows), pairwise(self.own), strict=True):
            yield slice(*rows), slice(*own)

    def of(self, rows: Tensor) -> Pools:
        """The pools of chosen rows (R,), ascending, which may repeat."""
        cuts = torch.searchsorted(rows, torch.tensor(self.rows, device=rows.device))
        return Pools(tuple(cuts.tolist()), self.own)

    def places(self, columns: Tensor) -> Tensor:
        """Where among all candidates the ``columns`` (R,) stand, one of each row."""
        shift = torch.tensor(self.own[:-1], device=columns.device) - self.own[0]
        sizes = torch.tensor(self.rows, device=columns.device).diff()
        return torch.where(columns < self.own[0], columns, columns + shift.repeat_interleave(sizes))
