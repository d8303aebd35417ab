"""Encoded requests to the candidates of each source, and those of several sources to one list.

A source is a retriever with its index, or a model that searches by itself. It knows neither ids nor rankers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import Tensor, nn

from shortlist.contracts import Candidates, CandidateSource, Filter, ItemIndex, Requests, Retriever
from shortlist.errors import RequestError
from shortlist.index import AnyIndex, Exact, choose
from shortlist.model import Model

MOST_QUERIES = 1_000  # requests of training users by which an index is tuned and measured
FUSION = 60  # k of reciprocal rank fusion, as in the paper

Lap = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Source:
    """A model that finds candidates. ``index`` is None where it searches by itself. Make one with :meth:`of`."""

    model: Model
    index: ItemIndex | None
    index_settings: AnyIndex | None

    @classmethod
    def of(cls, model: Model, *, index: AnyIndex | Literal["auto"] = "auto") -> Source:
        """Index the items of a retriever; a baseline needs no index."""
        if not isinstance(model.network, Retriever | CandidateSource):
            raise RequestError(f"{model.name} does not retrieve. The first part is a retriever or a baseline.")
        if not isinstance(model.network, Retriever):
            return cls(model, None, None)
        settings = choose(model.dataset.num_items) if index == "auto" else index
        items = torch.arange(1, model.dataset.num_items + 1)
        return cls(model, settings.build(items, model.vectors(), queries=training_queries(model)), settings)

    def can_serve(self, requests: Requests) -> Tensor:
        """Of which requests (B,) the model knows enough."""
        return cast("Retriever | CandidateSource", self.model.network).can_serve(requests.latest(self.model.history))

    @property
    def is_exact(self) -> bool:
        """Whether its search scores every item."""
        return self.index is None or isinstance(self.index_settings, Exact)

    def exact(self) -> Source:
        """The same with every item scored: what it would find if its index missed nothing."""
        if self.index is None or self.is_exact:
            return self
        return replace(self, index=Exact().build(*self.index.alive()), index_settings=Exact())

    def search(self, requests: Requests, k: int, *, filter: Filter | None = None, lap: Lap | None = None) -> Candidates:
        """The model's best ``k`` (B, k); ``lap`` is told the name of each step when it is done."""
        network, requests = as_served(self.model.network), requests.latest(self.model.history)
        if self.index is not None:
            queries = cast("Retriever", network).embed_requests(requests)
            if lap is not None:
                lap("embed")
            found = self.index.search(queries, k, filter=filter)
        else:
            found = cast("CandidateSource", network).search(requests, k, filter=filter)
        if lap is not None:
            lap("search")
        return found


def as_served(network: nn.Module) -> nn.Module:
    """The network, ready to answer; to say so to one that is takes as long as a layer."""
    return network.eval() if network.training else network


def evidence_width(num_sources: int) -> int:
    """How many numbers :func:`evidence` gives for each candidate."""
    return 2 if num_sources == 1 else 3 * num_sources


def evidence(candidates: Candidates, found: Sequence[Candidates]) -> Tensor:
    """What the sources say of candidates (B, k, E): one source its score and rank, several also whether each found it.

    Ranks begin with 0. Where one of several sources did not find an item, the rank is the number of slots that it was
    asked for, and the score its lowest for that request: the item has no better one. A source without answer has 0.
    """
    if len(found) == 1:
        ranks = torch.arange(candidates.items.shape[1], dtype=torch.float32).expand_as(candidates.scores)
        return torch.stack((candidates.scores, ranks), dim=2)
    told: list[Tensor] = []
    for answer in found:
        depth = answer.items.shape[1]
        known, order = answer.items.sort(dim=1)  # (B, C)
        place = torch.searchsorted(known, candidates.items.contiguous()).clamp(max=depth - 1)  # (B, k)
        is_found = (known.gather(1, place) == candidates.items) & candidates.valid
        rank = order.gather(1, place)
        lowest = answer.scores.masked_fill(~answer.valid, torch.inf).amin(1, keepdim=True)
        lowest = lowest.masked_fill(lowest == torch.inf, 0)
        told.append(torch.where(is_found, answer.scores.gather(1, rank), lowest))
        told.append(rank.masked_fill(~is_found, depth).float())
        told.append(is_found.float())
    return torch.stack(told, dim=2)


def fuse(found: Sequence[Candidates], k: int) -> Candidates:
    """The best ``k`` of what several sources found, each item once, by reciprocal rank fusion.

    An item's score is the sum of 1 / (60 + rank) over the sources that found it, ranks beginning with 1; of equal ones
    the item that an earlier source found comes first. Cormack, Clarke & Buettcher 2009, "Reciprocal rank fusion
    outperforms Condorcet and individual rank learning methods".

    >>> one, other = (Candidates(torch.tensor([items]), torch.ones(1, 2)) for items in ([4, 2], [2, 7]))
    >>> fuse((one, other), 3).items
    tensor([[2, 4, 7]])
    """
    items = torch.cat([answer.items for answer in found], dim=1)  # (B, N)
    credit = [1 / (FUSION + 1 + torch.arange(answer.items.shape[1])).expand_as(answer.scores) for answer in found]
    first = _first_places(items)
    scores = torch.zeros(items.shape).scatter_add_(1, first, torch.cat(credit, dim=1))
    once = items.masked_fill(first != torch.arange(items.shape[1]), 0)
    return Candidates(once, scores).reorder(scores, k)


def _first_places(items: Tensor) -> Tensor:
    """For each column of items (B, N), the first one that holds the same item."""
    by_item, order = items.sort(dim=1, stable=True)
    begins = torch.ones_like(by_item, dtype=torch.bool)
    begins[:, 1:] = by_item[:, 1:] != by_item[:, :-1]
    start = torch.where(begins, torch.arange(items.shape[1]), 0).cummax(1).values  # of each run of equal items
    return torch.empty_like(order).scatter_(1, order, order.gather(1, start))


@torch.inference_mode()
def training_queries(retriever: Model) -> Tensor | None:
    """What some of the training users would be searched by (Q, D): real queries to tune and measure an index with."""
    rows = (retriever.dataset.events.lengths > 0).nonzero().squeeze(1)
    if not len(rows):
        return None
    chosen = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:MOST_QUERIES]]
    network = retriever.network.eval()
    assert isinstance(network, Retriever)
    return network.embed_requests(retriever.requests_of(chosen))
