"""Single requests, each with its own fresh events and lists, to one batch of encoded ones: how a service asks.

It makes of each what :func:`~shortlist.query.encode_query` makes of it alone, in a fifth of the time: without a frame, and
by a few small arrays where that one has a dozen calls that pay off in large batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shortlist.contracts import Filter, Interactions, Requests
from shortlist.data.dataset import Dataset
from shortlist.query import Query, encode_context
from shortlist.vocabulary import Id

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: a user, or None for an anonymous session, and what is fresh about it.

    ``events`` are items with times (seconds since 1970) that extend the stored history of the user: in time order, or
    where the data set has no times at its end.
    """

    user: Id | None = None
    events: Sequence[tuple[Id, int]] = ()
    exclude: Sequence[Id] = ()
    exclude_seen: bool = True
    context: Mapping[str, Any] | None = None


def encode_asks(dataset: Dataset, asks: Sequence[Ask], *, history: int) -> tuple[Query, tuple[tuple[Id, ...], ...]]:
    """The batch of ``asks``, all with a context or none, and of each the ids that no vocabulary has."""
    users = dataset.encoders.users.encode([ask.user for ask in asks])
    stored, find = _Stored(dataset.events), dataset.encoders.items.encode
    windows, moments, denied = [], [], []
    unknown: list[tuple[Id, ...]] = []
    for ask, user in zip(asks, users.tolist(), strict=True):
        missing: list[Id] = []
        items, times, liked = stored.of(user)
        if ask.events:
            items, times, liked = _extended(items, times, liked, *_fresh(find, ask.events, missing))
        met = [items] if ask.exclude_seen else []
        if ask.exclude:
            met.append(_known(find, ask.exclude, missing))
        denied.append(np.concatenate(met) if len(met) > 1 else met[0] if met else items[:0])
        if liked is not None:
            items, times = items[liked], None if times is None else times[liked]
        windows.append(items[max(0, len(items) - history) :])
        moments.append(None if times is None else times[max(0, len(items) - history) :])
        unknown.append(tuple(dict.fromkeys(missing)))
    rows = torch.from_numpy(users).long()
    contexts = [dict(ask.context) for ask in asks if ask.context is not None]
    requests = Requests(
        rows,
        _padded(windows) if history else None,
        torch.tensor([len(window) for window in windows]) if history else None,
        _padded([each for each in moments if each is not None]) if history and stored.times is not None else None,
        None,
        None if dataset.user_features is None else dataset.user_features.take(rows),
        encode_context(dataset, contexts, len(asks)) if contexts else None,
    )
    every = tuple(dict.fromkeys(item for each in unknown for item in each)) if any(unknown) else ()
    query = Query(tuple(ask.user for ask in asks), requests, Filter(exclude=_padded(denied)), every)
    return query, tuple(unknown)


class _Stored:
    """The events of a data set as arrays."""

    def __init__(self, events: Interactions) -> None:
        self.offsets, self.items = events.offsets.numpy(), events.items.numpy()
        self.times = None if events.times is None else events.times.numpy()
        self.liked = None if events.liked is None else events.liked.numpy()

    def of(self, row: int) -> tuple[Integers, Integers | None, npt.NDArray[np.bool_] | None]:
        """Items, times and which are liked, of one row."""
        first, last = self.offsets[row], self.offsets[row + 1]
        times, liked = self.times, self.liked
        return (
            self.items[first:last],
            None if times is None else times[first:last],
            None if liked is None else liked[first:last],
        )


def _extended(
    items: Integers,
    times: Integers | None,
    liked: npt.NDArray[np.bool_] | None,
    fresh: Integers,
    moments: Integers,
) -> tuple[Integers, Integers | None, npt.NDArray[np.bool_] | None]:
    """Stored events with the known fresh ones, in time order where there are times; equal times keep their order."""
    joined = np.concatenate((items, fresh))
    if liked is not None:
        liked = np.concatenate((liked, np.ones(len(fresh), dtype=bool)))
    if times is None:
        return joined, None, liked
    times = np.concatenate((times, moments))
    if (times[1:] >= times[:-1]).all():
        return joined, times, liked
    order = np.argsort(times, kind="stable")
    return joined[order], times[order], None if liked is None else liked[order]


def _fresh(find: Any, events: Sequence[tuple[Id, int]], missing: list[Id]) -> tuple[Integers, Integers]:
    """The indices and times of the known ones; the ids of the others go to ``missing``."""
    ids = [item for item, _ in events]
    indices, times = find(ids), np.array([time for _, time in events], dtype=np.int64)
    if indices.all():
        return indices, times
    missing += [item for item, index in zip(ids, indices.tolist(), strict=True) if not index]
    return indices[indices > 0], times[indices > 0]


def _known(find: Any, ids: Sequence[Id], missing: list[Id]) -> Integers:
    """The indices of the known ids; the others go to ``missing``."""
    indices: Integers = find(ids)
    if not indices.all():
        missing += [item for item, index in zip(ids, indices.tolist(), strict=True) if not index]
    return indices[indices > 0]


def _padded(rows: Sequence[Integers]) -> Tensor:
    """Rows of one table (B, longest) int64, padded with 0."""
    table = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return torch.from_numpy(table)
