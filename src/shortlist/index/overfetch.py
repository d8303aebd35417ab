"""A library that cannot be told which rows to answer into a searcher that can: it finds more, and the rest is left out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from shortlist.index.delta import Among

_MORE = 1.25  # than as many as chance would leave k of
_AT_LEAST = 16


class Unfiltered(Protocol):
    """A library's index over n vectors, by row. It never changes, and several threads may search it at once."""

    def __len__(self) -> int: ...

    def nearest(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Scores and rows (B, k) for one query or more, best first; -inf and -1 where nothing was found; k is n at most."""
        ...

    def effort(self, k: int) -> float:
        """How many vectors ``nearest`` scores for one query, about."""
        ...

    def arrays(self) -> dict[str, Tensor]:
        """All it needs to be restored, but the vectors."""
        ...

    def variants(self) -> Iterator[tuple[str, Unfiltered]]:
        """The same with less and with more effort, each by the name of its setting."""
        ...


@dataclass(frozen=True, slots=True)
class Overfetching:
    """A :class:`~shortlist.index.delta.Searcher` over such a library. An answer it leaves short is completed outside."""

    library: Unfiltered

    def nearest(self, queries: Tensor, k: int, *, spare: int, among: Among | None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """The library's best ``k`` of those it finds among the rows that may be answered."""
        if among is None:
            return self.library.nearest(queries, k)
        scores, rows = self.library.nearest(queries, self._fetched(k, among.share))
        scores = scores.masked_fill(~among.rows[rows], -torch.inf)  # row -1 has that score, whatever it reads here
        scores, kept = torch.topk(scores, k, dim=1)
        rows = rows.gather(1, kept)
        return scores, rows.masked_fill_(scores == -torch.inf, -1)

    def effort(self, k: int, *, spare: int, share: float) -> float:  # noqa: ARG002
        """The library's, for all that it is asked for."""
        return self.library.effort(k if share == 1 else self._fetched(k, share))

    def arrays(self) -> dict[str, Tensor]:
        """The library's."""
        return self.library.arrays()

    def variants(self) -> Iterator[tuple[str, Overfetching]]:
        """The library's."""
        for setting, library in self.library.variants():
            yield setting, Overfetching(library)

    def _fetched(self, k: int, share: float) -> int:
        return min(math.ceil(_MORE * k / share) + _AT_LEAST, len(self.library))
