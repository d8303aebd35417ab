"""Items with scores, which items may be among them, and the lists after each step of a funnel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Filter:
    """Which items may be answered; applied before the cut, so that k eligible items give k answers."""

    allowed: Tensor | None = None  # (I+1,) bool over item indices, or (B, A) indices padded with 0
    exclude: Tensor | None = None  # (B, X) indices padded with 0

    def take(self, rows: Tensor) -> Filter:
        """The filter of the given requests (B',)."""
        per_request = self.allowed is not None and self.allowed.dtype != torch.bool
        return Filter(
            self.allowed[rows] if per_request and self.allowed is not None else self.allowed,
            None if self.exclude is None else self.exclude[rows],
        )

    def within(self, offered: Tensor | None) -> Filter:
        """The same with only the items (I+1,) that are ``offered``; None: all are."""
        if offered is None:
            return self
        if self.allowed is None:
            return Filter(offered, self.exclude)
        if self.allowed.dtype == torch.bool:
            return Filter(self.allowed & offered, self.exclude)
        return Filter(self.allowed.masked_fill(~offered[self.allowed], 0), self.exclude)

    def mask_(self, scores: Tensor) -> Tensor:
        """Set the scores (B, I+1) of items that may not be answered to -inf, in place."""
        if self.allowed is not None:
            if self.allowed.dtype == torch.bool:
                scores[:, ~self.allowed] = -torch.inf
            else:
                forbidden = torch.ones_like(scores, dtype=torch.bool).scatter_(1, self.allowed, False)
                scores.masked_fill_(forbidden, -torch.inf)
        if self.exclude is not None:
            scores.scatter_(1, self.exclude, -torch.inf)
        scores[:, 0] = -torch.inf
        return scores


@dataclass(frozen=True, slots=True)
class Candidates:
    """Items with scores, best first; item 0 (score -inf) is an empty slot."""

    items: Tensor  # (B, k) int64
    scores: Tensor  # (B, k) float32
    evidence: Tensor | None = None  # (B, k, E): per source its score and rank, which a ranker may use; see sources.py

    def __len__(self) -> int:
        return len(self.items)

    @property
    def valid(self) -> Tensor:
        """Which slots hold an item (B, k)."""
        return self.items != 0

    def take(self, rows: Tensor) -> Candidates:
        """The candidates of the given requests (B',)."""
        return Candidates(self.items[rows], self.scores[rows], None if self.evidence is None else self.evidence[rows])

    def where(self, rows: Tensor) -> Candidates:
        """The same with every slot empty in the rows where ``rows`` (B,) is false."""
        kept = rows[:, None]
        return Candidates(self.items.masked_fill(~kept, 0), self.scores.masked_fill(~kept, -torch.inf))

    def reorder(self, scores: Tensor, k: int) -> Candidates:
        """The best ``k`` by new ``scores`` (B, C); empty slots stay last, equal scores keep their order."""
        ranked, order = torch.sort(scores.masked_fill(~self.valid, -torch.inf), dim=1, descending=True, stable=True)
        order = order[:, :k]
        evidence = (
            None
            if self.evidence is None
            else self.evidence.gather(1, order[..., None].expand(-1, -1, self.evidence.shape[2]))
        )
        return Candidates(self.items.gather(1, order), ranked[:, :k], evidence)

    @classmethod
    def top(cls, scores: Tensor, k: int, filter: Filter | None = None) -> Candidates:
        """The best ``k`` (B, k) of all items by ``scores`` (B, I+1), which it overwrites; -inf is never answered."""
        (filter or Filter()).mask_(scores)
        best, items = torch.topk(scores, min(k, scores.shape[1]), dim=1)
        short = k - best.shape[1]  # a catalogue smaller than k leaves empty slots
        best, items = nn.functional.pad(best, (0, short), value=-torch.inf), nn.functional.pad(items, (0, short))
        return cls(items.masked_fill(best == -torch.inf, 0), best)


@dataclass(frozen=True, slots=True)
class Stages:
    """One answer after each step of the funnel."""

    retrieved: Candidates
    filtered: Candidates
    ranked: Candidates
    seconds: Mapping[str, float] = field(default_factory=dict)  # each step's, for all requests together
    served: Tensor | None = None  # (B,) bool: of which requests a source knows enough
