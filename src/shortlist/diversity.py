"""A ranked list to a more varied one: maximal marginal relevance, and caps on the values of an attribute.

It knows neither models nor ids: vectors and attribute values come as tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from shortlist.contracts import Candidates, Ragged
from shortlist.errors import RequestError

POOL = 4  # times k: the least number of candidates to choose from

Vectors = Callable[[Tensor], Tensor]  # from items (N,) to their vectors (N, D)


class Values(Protocol):
    """The values of items as numbers from 1."""

    def take(self, items: Tensor, /) -> Ragged:
        """Those of items (N,)."""
        ...


@dataclass(frozen=True, slots=True)
class Cap:
    """At most ``most`` items of any one value of an attribute. An item may have several values, or none."""

    attribute: str
    most: int
    values: Values

    def __post_init__(self) -> None:
        if isinstance(self.most, bool) or not isinstance(self.most, int) or self.most < 1:
            raise RequestError(f"caps[{self.attribute!r}] is {self.most!r}. It is a whole number from 1.")

    def of(self, items: Tensor) -> Tensor:
        """The values of items (B, C) as a table (B, C, M), 0 where there is none."""
        taken = self.values.take(items.flatten())
        lengths = taken.offsets.diff()
        table = torch.zeros(len(lengths), max(int(lengths.max()) if len(lengths) else 0, 1), dtype=torch.int64)
        table[torch.arange(table.shape[1]) < lengths[:, None]] = taken.values.long()
        return table.view(*items.shape, -1)


@dataclass(frozen=True, slots=True)
class Selection:
    """How the last step chooses: ``diversity`` is the weight of being unlike what stands above, from 0 to 1."""

    diversity: float = 0.0
    caps: tuple[Cap, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.diversity <= 1:
            raise RequestError(f"diversity is {self.diversity!r}. It is a number from 0 to 1.")

    @property
    def is_active(self) -> bool:
        """Whether it changes anything."""
        return self.diversity > 0 or bool(self.caps)


@torch.inference_mode()
def select(selection: Selection, ranked: Candidates, k: int, *, vectors: Vectors | None) -> Candidates:
    """Choose up to ``k`` of the ranked candidates (B, C), one after the other; ``vectors`` are needed for diversity alone.

    The next one is argmax (1 - diversity) * relevance - diversity * (largest cosine to those chosen before). Carbonell &
    Goldstein 1998, "The use of MMR, diversity-based reranking for reordering documents and producing summaries". Relevance is
    the score, scaled so that a request's candidates lie between 0 and 1; before anything is chosen the cosine counts
    as -1, its lowest, so that the values, which are the scores of the answer, only fall. Without diversity the scores
    stay as they were. An item of which a capped value is used up is passed over: where no other is left, the answer is
    shorter than ``k``.
    """
    width = ranked.items.shape[1]
    rows, k = torch.arange(len(ranked)), min(k, width)
    relevance = _scaled(ranked) if selection.diversity > 0 else ranked.scores
    unit = None if vectors is None else _directions(ranked.items, vectors)  # (B, C, D)
    alike = torch.full(ranked.scores.shape, -1.0)  # the largest cosine to what was chosen
    values = [(cap, cap.of(ranked.items)) for cap in selection.caps]
    used = [torch.zeros(table.shape, dtype=torch.int64) for _, table in values]  # chosen items with that value
    free = ranked.valid.clone()
    chosen, scores = torch.zeros(len(rows), k, dtype=torch.int64), torch.full((len(rows), k), -torch.inf)
    for place in range(k):
        worth = relevance
        if unit is not None:
            worth = (1 - selection.diversity) * relevance - selection.diversity * alike
        best, column = worth.masked_fill(~free, -torch.inf).max(1)  # of equal ones the first
        chosen[:, place] = ranked.items[rows, column].masked_fill(best == -torch.inf, 0)
        scores[:, place] = best
        free[rows, column] = False
        if unit is not None:
            alike = torch.maximum(alike, torch.einsum("bcd,bd->bc", unit, unit[rows, column]))
        for (cap, table), count in zip(values, used, strict=True):
            own = table[rows, column]  # (B, M)
            count += ((table[..., None] == own[:, None, None, :]) & (table > 0)[..., None]).any(-1)
            free &= ~(count >= cap.most).any(-1)
    return Candidates(chosen, scores)


def _scaled(ranked: Candidates) -> Tensor:
    """Scores (B, C) with each request's lowest at 0 and its highest at 1; all 1 where they are equal."""
    low = ranked.scores.masked_fill(~ranked.valid, torch.inf).amin(1, keepdim=True)
    high = ranked.scores.masked_fill(~ranked.valid, -torch.inf).amax(1, keepdim=True)
    spread = high - low
    return torch.where(spread > 0, (ranked.scores - low) / spread, 1.0).masked_fill(~ranked.valid, 0)


def _directions(items: Tensor, vectors: Vectors) -> Tensor:
    """The vectors of items (B, C), at length 1 (B, C, D)."""
    distinct, place = torch.unique(items, return_inverse=True)
    return torch.nn.functional.normalize(vectors(distinct), dim=1)[place]
