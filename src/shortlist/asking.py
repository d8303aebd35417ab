"""Single requests, each with its own fresh events and lists, to one batch of encoded ones: how a service asks.

It is what :func:`~shortlist.query.encode_query` makes of each of them alone, without a frame between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shortlist.contracts import Filter
from shortlist.data.dataset import Dataset
from shortlist.query import Fresh, Query, encode_context, histories
from shortlist.vocabulary import Id


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: a user, or None for an anonymous session, and what is fresh about it.

    ``events`` are items with times (seconds since 1970), oldest first, that extend the stored history of the user.
    """

    user: Id | None = None
    events: Sequence[tuple[Id, int]] = ()
    exclude: Sequence[Id] = ()
    exclude_seen: bool = True
    context: Mapping[str, Any] | None = None


def encode_asks(dataset: Dataset, asks: Sequence[Ask], *, history: int) -> tuple[Query, tuple[tuple[Id, ...], ...]]:
    """The batch of ``asks``, all with a context or none, and of each the ids that no vocabulary has."""
    encoders = dataset.encoders
    users = torch.from_numpy(encoders.users.encode([ask.user for ask in asks])).long()
    denied, unknown_denied = _lists(dataset, [ask.exclude for ask in asks])
    fresh, unknown_events = _fresh(dataset, asks)
    requests, seen = histories(dataset, users, fresh, history)
    if not all(ask.exclude_seen for ask in asks):
        seen = seen * torch.tensor([ask.exclude_seen for ask in asks])[:, None]
    contexts = [ask.context for ask in asks if ask.context is not None]
    if contexts:
        requests = replace(requests, context=encode_context(dataset, [dict(each) for each in contexts], len(asks)))
    exclude = seen if denied is None else torch.cat((seen, denied), dim=1)
    unknown = [(*one, *two) for one, two in zip(unknown_events, unknown_denied, strict=True)]
    query = Query(
        tuple(ask.user for ask in asks),
        requests,
        Filter(exclude=exclude),
        tuple(dict.fromkeys(item for one in unknown for item in one)),
    )
    return query, tuple(tuple(dict.fromkeys(one)) for one in unknown)


def _fresh(dataset: Dataset, asks: Sequence[Ask]) -> tuple[Fresh | None, list[tuple[Id, ...]]]:
    """The known ones of all fresh events, and of each ask the unknown items."""
    lengths = torch.tensor([len(ask.events) for ask in asks])
    if not int(lengths.sum()):
        return None, [()] * len(asks)
    ids = [item for ask in asks for item, _ in ask.events]
    items = torch.from_numpy(dataset.encoders.items.encode(ids)).long()
    owner = torch.repeat_interleave(torch.arange(len(asks)), lengths)
    times = torch.tensor([time for ask in asks for _, time in ask.events])
    unknown: list[tuple[Id, ...]] = [()] * len(asks)
    known = items > 0
    if not bool(known.all()):
        for place in (~known).nonzero().squeeze(1).tolist():
            unknown[int(owner[place])] += (ids[place],)
        items, owner, times = items[known], owner[known], times[known]
    return Fresh(owner, items, None if dataset.events.times is None else times), unknown


def _lists(dataset: Dataset, lists: Sequence[Sequence[Id]]) -> tuple[Tensor | None, list[tuple[Id, ...]]]:
    """Indices (B, X) of the known ids of each list, padded with 0, and the ids that are not known; None: all are empty."""
    longest = max(len(ids) for ids in lists)
    unknown: list[tuple[Id, ...]] = [()] * len(lists)
    if not longest:
        return None, unknown
    indices = np.zeros((len(lists), longest), dtype=np.int64)
    for row, ids in enumerate(lists):
        found = dataset.encoders.items.encode(ids)
        indices[row, : len(ids)] = found
        if len(ids) and not found.all():
            unknown[row] = tuple(item for item, index in zip(ids, found.tolist(), strict=True) if not index)
    return torch.from_numpy(indices), unknown
