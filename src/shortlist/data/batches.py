"""Data sets to requests with what came next, at moments of a part or for evaluation; and candidates with labels to batches.

All of it is index arithmetic on flat arrays that lie in memory; no worker processes, no padding beyond a batch's longest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import torch
from torch import Tensor

from shortlist.contracts import (
    Candidates,
    EvaluationBatch,
    Examples,
    Features,
    Filter,
    Interactions,
    Requests,
    When,
)
from shortlist.data.dataset import Dataset
from shortlist.errors import SettingsError
from shortlist.features import running_total, spans


def make_requests(
    events: Interactions,
    *,
    rows: Tensor,
    stops: Tensor,
    history: int,
    user_features: Features | None = None,
    context: Features | None = None,
    time: Tensor | None = None,
) -> Requests:
    """What is known of ``rows`` (B,) before the positions ``stops`` (B,) of ``events``: the last ``history`` of them."""
    window, length, times = (None, None, None) if history == 0 else events.windows(rows, stops, history)
    features = None if user_features is None else user_features.take(rows)
    return Requests(rows, window, length, times, time, features, context)


class ListBatches:
    """A retriever's candidates with labels: what a ranker learns from."""

    def __init__(
        self, requests: Requests, candidates: Candidates, labels: Tensor, *, batch_size: int, seed: int
    ) -> None:
        self.requests, self.candidates, self.labels = requests, candidates, labels  # labels (M, C)
        self.batch_size, self.seed = batch_size, seed

    @property
    def num_examples(self) -> int:
        """Lists to learn from."""
        return len(self.labels)

    @property
    def num_steps(self) -> int:
        """Batches of one epoch; the last may be smaller."""
        return -(-len(self.labels) // self.batch_size)

    def get(self, epoch: int, step: int) -> Examples:
        """The examples of one step."""
        order = torch.randperm(len(self.labels), generator=torch.Generator().manual_seed(mix(self.seed, epoch, -1)))
        chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
        lists = self.candidates.take(chosen)
        return Examples(self.requests.take(chosen), lists.items, self.labels[chosen], evidence=lists.evidence)


class Moments:
    """The moments of up to ``most`` of a part's own liked events, spread at random: what was known then, what came next."""

    def __init__(self, dataset: Dataset, *, most: int, seed: int) -> None:
        liked = dataset.positives()
        own = liked.own().nonzero().squeeze(1)
        if len(own) > most:
            chosen = torch.randperm(len(own), generator=torch.Generator().manual_seed(seed))[:most]
            own = own[chosen.sort().values]
        self._liked, self._positions = liked, own  # (M,)
        self._rows, self._stops = liked.events.rows()[own], liked.events.history_stops()[own]

    def __len__(self) -> int:
        return len(self._positions)

    def requests(self, *, history: int) -> Requests:
        """The requests (M) made just before the events."""
        liked, times = self._liked, self._liked.events.times
        return make_requests(
            liked.events,
            rows=self._rows,
            stops=self._stops,
            history=history,
            user_features=liked.user_features,
            context=None if liked.context is None else liked.context.take(self._positions),
            time=None if times is None else times[self._positions],
        )

    def seen_and_next(self, block: Tensor) -> tuple[Filter, Tensor]:
        """For some of the moments (B,): what their users had seen by then, and the items (B, S) liked from then on."""
        events, rows = self._liked.events, self._rows[block]
        seen = padded(events.items, events.offsets[rows], self._stops[block])
        return Filter(exclude=seen), padded(events.items, self._positions[block], events.offsets[rows + 1])


def own_events(dataset: Dataset) -> tuple[Tensor, Tensor]:
    """All of the part's own events, liked or not: their positions (M,), and where their liked history ends (M,).

    The first are positions in ``dataset.events``, the second in ``dataset.positives().events``.
    """
    positions = dataset.own().nonzero().squeeze(1)
    stops = dataset.events.history_stops()[positions]
    liked = dataset.events.liked
    return positions, stops if liked is None else running_total(liked.long())[stops]


def evaluation_batches(
    dataset: Dataset,
    *,
    history: int,
    moments: When = "first",
    batch_size: int = 1024,
    most: int | None = None,
    seed: int = 0,
    exclude_seen: bool = True,
) -> Iterator[EvaluationBatch]:
    """Requests made at moments of the part, with the liked events of its own that came next as their targets.

    ``moments="first"`` asks once for each row, before its first own event, and wants all of them. ``"each"`` asks before
    every own event that has one before it, and wants that event: as a session grows, all its prefixes. A row that has only
    items no vocabulary has is among the first ones, without targets, so that they are counted. With ``most``, that
    many requests drawn at random. What the row had met before is excluded from the answers unless ``exclude_seen`` is
    false.
    """
    if moments not in get_args(When):
        raise SettingsError(f"moments is {moments!r}. It is one of: {', '.join(get_args(When))}.")
    liked, events, unknown = dataset.positives(), dataset.events, dataset.unknown_targets
    own, ends = liked.own().nonzero().squeeze(1), liked.events.offsets[1:]
    if moments == "first":
        has_targets = ends > liked.target_start
        if unknown is not None:
            has_targets = has_targets | (unknown > 0)
        rows = has_targets.nonzero().squeeze(1)
        first = stops = liked.target_start[rows]
        last, known = ends[rows], dataset.target_start[rows]
    else:
        stops = liked.events.history_stops()[own]
        has_past = stops > liked.events.offsets[liked.events.rows()[own]]
        first, stops = own[has_past], stops[has_past]
        rows, last = liked.events.rows()[first], first + 1
        places = first if events.liked is None else events.liked.nonzero().squeeze(1)[first]
        known = events.history_stops()[places]
    asked = torch.arange(len(rows))
    if most is not None and len(rows) > most:
        asked = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:most].sort().values
    times = liked.events.times
    for some in torch.split(asked, batch_size):
        if not len(some):
            return
        at = first[some]
        when = at.clamp(min=0, max=len(liked.events) - 1)  # of a row without targets it does not matter
        requests = make_requests(
            liked.events,
            rows=rows[some],
            stops=stops[some],
            history=history,
            user_features=liked.user_features,
            context=None if liked.context is None else liked.context.take(when),
            time=None if times is None else times[when],
        )
        begins = events.offsets[rows[some]]
        seen = padded(events.items, begins, known[some]) if exclude_seen else None
        targets = padded(liked.events.items, at, last[some])
        outside = None if unknown is None or moments == "each" else unknown[rows[some]]
        yield EvaluationBatch(requests, targets, Filter(exclude=seen), known[some] - begins, outside)


def padded(values: Tensor, starts: Tensor, stops: Tensor) -> Tensor:
    """The spans values[start:stop] as rows of one table (B, longest) int64, padded with 0.

    >>> padded(torch.tensor([1, 2, 3]), torch.tensor([0, 2]), torch.tensor([2, 3])).tolist()
    [[1, 2], [3, 0]]
    """
    lengths = (stops - starts).clamp(min=0)
    table = torch.zeros(len(starts), int(lengths.max()) if len(lengths) else 0, dtype=torch.int64)
    row = torch.repeat_interleave(torch.arange(len(starts)), lengths)
    positions = spans(starts, lengths)
    table[row, positions - starts[row]] = values[positions].long()
    return table


def mix(seed: int, epoch: int, step: int) -> int:
    """One 63-bit seed from three numbers, neighbours being far apart (splitmix64's finaliser)."""
    value = (seed * 0x9E3779B97F4A7C15 + epoch * 0xBF58476D1CE4E5B9 + step * 0x94D049BB133111EB + 1) % 2**64
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) % 2**64
    return (value ^ (value >> 31)) >> 1
