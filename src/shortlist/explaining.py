"""A request and an item to what each event of the history adds to the item's score, by leaving it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from shortlist.contracts import Candidates, Features, Ranker, Requests, Retriever
from shortlist.data.batches import padded
from shortlist.data.dataset import Dataset
from shortlist.errors import RequestError
from shortlist.features import running_total
from shortlist.model import Model, pair_scores
from shortlist.query import encode_query
from shortlist.vocabulary import Id


@dataclass(frozen=True, slots=True)
class Explanation:
    """The events of a user's history as (1, L) items, with what each adds to a score that ``model`` gives, best first."""

    model: str
    contributions: Candidates


def explanation(
    dataset: Dataset, models: Sequence[Model], item: int, *, user: Id | None, events: Any, context: Any
) -> Explanation:
    """What each event of a user's history adds to the score of ``item``.

    The first of the ``models`` is asked that scores single items by the history. An event's contribution is the score
    with the whole history less the score as if that event had not been: exact, by one forward pass over all such
    histories (occlusion; Zeiler & Fergus 2014, "Visualizing and understanding convolutional networks").
    """
    for model in models:
        if model.history == 0 or not isinstance(model.network, Ranker | Retriever):
            continue
        (query,) = encode_query(
            dataset,
            users=[user],
            events=events,
            items=None,
            exclude=None,
            allowed=None,
            exclude_seen=False,
            context=context,
            history=model.history + 1,  # the oldest moves up where a later one is left out
            block=1,
        )
        if query.requests.length is None or not int(query.requests.length[0]):
            raise RequestError("No event of the history is known, so there is nothing to explain the score by.")
        items, added = contributions(model, query.requests, item)
        if bool((added != 0).any()):  # MF looks at the history of those alone whom it does not know
            return Explanation(model.name, Candidates(items[None], added[None]).reorder(added[None], len(items)))
    names = ", ".join(model.name for model in models)
    raise RequestError(
        f"{names}: nothing here scores the item by this user's history, so the score cannot be explained by it. A model of ids "
        "knows a user by a vector of its own. Use one that reads the history: SASRec, GRU4Rec, TwoTower or CrossAttention."
    )


def contributions(model: Model, request: Requests, item: int) -> tuple[Tensor, Tensor]:
    """The history's items (L,), oldest first, and what each adds to the score of ``item`` (L,).

    ``request`` is one request, whose history holds one event more than the model reads, if there is one.
    """
    assert request.history is not None
    assert request.length is not None
    events, width = torch.arange(int(request.length[0])), model.history
    read = events[-width:]
    kept = [read, *(torch.cat((events[:place], events[place + 1 :]))[-width:] for place in read.tolist())]
    stops = running_total(torch.tensor([len(each) for each in kept]))
    places, num = torch.cat(kept), len(kept)

    def windows(values: Tensor) -> Tensor:
        return padded(values[0, places], stops[:-1], stops[1:])

    def repeated(features: Features | None) -> Features | None:
        return None if features is None else features.take(torch.zeros(num, dtype=torch.int64))

    requests = replace(
        request,
        user=None if request.user is None else request.user.expand(num),
        history=windows(request.history),
        length=stops.diff(),
        history_time=None if request.history_time is None else windows(request.history_time),
        time=None if request.time is None else request.time.expand(num),
        user_features=repeated(request.user_features),
        context=repeated(request.context),
    )
    scores = pair_scores(model.network, requests, torch.full((num, 1), item))[:, 0]
    return request.history[0, read], scores[0] - scores[1:]
