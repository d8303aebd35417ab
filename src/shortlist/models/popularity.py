"""Counts of positive events, all-time or recent, into one ranking for everybody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from shortlist.contracts import Candidates, Catalogue, Filter, Interactions, Requests
from shortlist.errors import SettingsError, TrainingError
from shortlist.models.more import More, Place

_SECONDS_A_DAY = 86_400
_SCORES_AT_ONCE = 1 << 22  # 16 MB of float32


@dataclass(frozen=True, slots=True)
class Popularity:
    """Settings of the popularity baseline.

    ``recent_days`` counts only the events of that many days up to the newest event; None counts all of them. With
    ``half_life_days`` an event counts half as much for each so many days that it is older than the newest one.

    >>> network = Popularity().build(Catalogue(num_users=2, num_items=3))
    >>> network.solve(Interactions(torch.tensor([0, 0, 2, 3]), torch.tensor([3, 1, 3]), num_items=3))
    >>> network.search(Requests(user=torch.tensor([0])), 2).items
    tensor([[3, 1]])
    """

    recent_days: float | None = None
    half_life_days: float | None = None

    recommended: ClassVar[Mapping[str, Any]] = {}

    def __post_init__(self) -> None:
        for name in ("recent_days", "half_life_days"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise SettingsError(
                    f"Popularity: {name} is {value}. It must be more than 0, or None to count all events alike."
                )

    @property
    def sampling(self) -> None:
        """None: the model is counted, not trained on examples."""
        return

    def build(self, catalogue: Catalogue) -> PopularityNetwork:
        """A network that has counted nothing yet."""
        return PopularityNetwork(self, catalogue)


class PopularityNetwork(nn.Module):
    """Answers the same items to everybody, the most counted first.

    Equal counts are ordered by the all-time counts, and then by item index, so that an answer never depends on chance.
    """

    counts: Tensor  # (I+1,) float32, positive events in the window, or their weights
    place: Tensor  # (I+1,) float32, 0 for the most popular item

    def __init__(self, settings: Popularity, catalogue: Catalogue) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("counts", torch.zeros(catalogue.num_items + 1))
        self.register_buffer("place", torch.arange(catalogue.num_items + 1, dtype=torch.float32))

    def solve(self, interactions: Interactions, /) -> None:
        """Count. Raises :class:`TrainingError` without positive events, or without times where recent ones are asked for."""
        liked = interactions.positives()
        if not len(liked):
            raise TrainingError(
                "Popularity: there are no positive events to count. Check schema.positive and the split."
            )
        all_time = liked.item_counts()
        counts = _recent(liked, self.settings)
        order = torch.argsort(all_time, descending=True, stable=True)
        order = order[torch.argsort(counts[order], descending=True, stable=True)]
        self.counts.copy_(counts)
        self.place[order] = torch.arange(len(order), dtype=torch.float32)

    def grow_by(self, more: More, _: Place) -> None:
        """Put new items last: nobody has met them."""
        last = len(self.place)
        behind = torch.arange(last, last + more.items, dtype=self.place.dtype, device=self.place.device)
        self.counts = torch.cat((self.counts, torch.zeros_like(behind)))
        self.place = torch.cat((self.place, behind))

    def search(self, requests: Requests, k: int, *, filter: Filter | None = None) -> Candidates:
        """The ``k`` most counted items that each request's filter lets through; scores are the counts (B, k)."""
        rows = torch.arange(len(requests), device=self.place.device)
        chunks = torch.split(rows, max(1, _SCORES_AT_ONCE // len(self.place)))
        items = torch.cat(
            [self._best(len(chunk), k, None if filter is None else filter.take(chunk)) for chunk in chunks]
        )  # (B, k)
        return Candidates(items, self.counts[items].masked_fill(items == 0, -torch.inf))

    def can_serve(self, requests: Requests, /) -> Tensor:
        """Everybody (B,): it asks nothing of a request."""
        return torch.ones(len(requests), dtype=torch.bool, device=self.place.device)

    def _best(self, num_requests: int, k: int, filter: Filter | None) -> Tensor:
        return Candidates.top((-self.place).repeat(num_requests, 1), k, filter).items


def _recent(liked: Interactions, settings: Popularity) -> Tensor:
    """Counts (I+1,) of the events as the settings weigh them; the newest event ends the last of the days."""
    if settings.recent_days is None and settings.half_life_days is None:
        return liked.item_counts()
    if liked.times is None:
        name = "half_life_days" if settings.recent_days is None else "recent_days"
        raise TrainingError(
            f"Popularity: {name} is {getattr(settings, name)}, but the events have no times. Set schema.timestamp to the "
            f"column with them, or {name} to None to count all events."
        )
    age_days = (liked.times.max() - liked.times).double() / _SECONDS_A_DAY
    weights = torch.ones_like(age_days)
    if settings.half_life_days is not None:
        weights = torch.exp2(-age_days / settings.half_life_days)
    if settings.recent_days is not None:
        weights = weights.masked_fill(age_days >= settings.recent_days, 0)
    return torch.bincount(liked.items.long(), weights=weights, minlength=liked.num_items + 1)
