"""Combinations of columns, such as (user, item): a hashed id for each, and how training's events of it were labelled."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shortlist.contracts import Catalogue, Examples, Features, Requests

PRIOR_EVENTS = 1.0  # a combination's label rate is drawn to the mean as by so many events


class Crosses(nn.Module):
    """The catalogue's X crossed columns of requests and items.

    A combination has a bucket from 1 on, by a hash where there are more combinations than ``buckets``; one with an unknown
    value has bucket 0. Training counts each bucket's events and liked events. An event that is learnt from must not see
    its own label, so it is taken out of the counts that it meets (leave-one-out target statistics; Micci-Barreca 2001,
    "A preprocessing scheme for high-cardinality categorical attributes").
    """

    counts: Tensor  # (X, buckets+1, 2) events and liked events

    def __init__(self, catalogue: Catalogue, *, buckets: int) -> None:
        super().__init__()
        self.columns, self.buckets, self.item_features = catalogue.crosses, buckets, catalogue.item_features
        self.register_buffer("counts", torch.zeros(len(self.columns), buckets + 1, 2))

    def __len__(self) -> int:
        return len(self.columns)

    def of(self, requests: Requests, items: Tensor) -> Tensor:
        """The buckets (B, C, X) of requests with items (B, C)."""
        found = []
        for columns in self.columns:
            key, known = torch.zeros_like(items), torch.ones_like(items, dtype=torch.bool)
            for owner, field in columns:
                value = self._values(owner, field, requests, items)
                key = _mixed(key * 1_000_003 + value)  # int64 wraps around
                known = known & (value > 0)
            found.append(torch.where(known, 1 + key.remainder(self.buckets), 0))
        return torch.stack(found, dim=2)

    def count(self, examples: Examples) -> None:
        """Count labelled events, or positives, that training will learn from."""
        buckets = self.of(examples.requests, examples.items)  # (B, S, X)
        liked = torch.ones(examples.items.shape) if examples.targets is None else examples.targets
        for cross, rows in enumerate(self.counts):
            chosen = buckets[..., cross].flatten()
            rows[:, 0] += torch.bincount(chosen, minlength=len(rows))
            rows[:, 1] += torch.bincount(chosen, weights=liked.flatten(), minlength=len(rows))
        self.counts[:, 0] = 0  # nothing is known of the unknown

    def look_up(self, requests: Requests, items: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor]:
        """The buckets (B, C, X) that training met, else 0, and two numbers for each (B, C, 2X).

        The numbers are its label rate against the mean, in standard deviations of a label, and log(1 + events). ``own``
        (B, C, 2) are the events and liked events among the counts that these very requests stand for.
        """
        buckets = self.of(requests, items)
        met = self.counts[torch.arange(len(self)), buckets]  # (B, C, X, 2)
        if own is not None:
            met = (met - own[:, :, None]).clamp(min=0)
        total = self.counts.sum((0, 1))
        mean = (total[1] / total[0].clamp(min=1)).clamp(1e-3, 1 - 1e-3)
        events, liked = met.unbind(3)
        rate = (liked + PRIOR_EVENTS * mean) / (events + PRIOR_EVENTS)
        numbers = torch.cat(((rate - mean) / (mean * (1 - mean)).sqrt(), torch.log1p(events)), dim=2)
        return buckets.masked_fill(events == 0, 0), numbers

    def _values(self, owner: str, field: int, requests: Requests, items: Tensor) -> Tensor:
        """The values (B, C) or (B, 1) of a column, 0 = unknown."""
        if owner == "user_id":
            assert requests.user is not None
            return requests.user[:, None]
        if owner == "item_id":
            return items
        if owner == "item":
            assert self.item_features is not None
            return _value(self.item_features, field, items.flatten()).view(items.shape)
        features = requests.user_features if owner == "user" else requests.context
        if features is None:
            return items.new_zeros(len(items), 1)
        return _value(features, field, None)[:, None]


def _value(features: Features, field: int, rows: Tensor | None) -> Tensor:
    assert features.categorical is not None
    column = features.categorical[:, field] if rows is None else features.categorical[rows, field]
    return column.long() - features.layout.offsets[field]


def _mixed(key: Tensor) -> Tensor:
    """Numbers far apart for neighbours (a round of xorshift-multiply on int64)."""
    key = (key ^ (key >> 29)) * 0x3F58476D1CE4E5B9
    return key ^ (key >> 32)
