"""Encoded requests to a ranked shortlist: embed, search, filter, re-rank.

It does not know ids. Evaluation, batch and HTTP all go through :meth:`Funnel.shortlist`: what is measured is what is served.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, cast

import torch
from torch import Tensor

from shortlist.contracts import Candidates, CandidateSource, Filter, ItemIndex, Ranker, Requests, Retriever, Stages
from shortlist.errors import RequestError
from shortlist.evaluation import Steps
from shortlist.index import AnyIndex, Exact, choose
from shortlist.model import Model, pair_scores
from shortlist.models.popularity import Popularity, PopularityNetwork

MOST_QUERIES = 1_000  # requests of training users by which an index is tuned and measured
EVIDENCE = 2  # what a ranker is told of each candidate: the retriever's score and rank


@dataclass(frozen=True, slots=True)
class Funnel:
    """A retriever with its index, an optional ranker of its best ``candidates``, and popularity where nothing is known.

    ``index`` is None for a source that searches by itself. Make one with :meth:`of`.
    """

    retriever: Model
    index: ItemIndex | None
    index_settings: AnyIndex | None
    ranker: Model | None
    candidates: int
    fallback: PopularityNetwork

    @classmethod
    def of(
        cls,
        retriever: Model,
        *,
        index: AnyIndex | Literal["auto"] = "auto",
        ranker: Model | None = None,
        candidates: int = 200,
    ) -> Funnel:
        """Index the retriever's items and count what is popular in its training events."""
        if not isinstance(retriever.network, Retriever | CandidateSource):
            raise RequestError(f"{retriever.name} does not retrieve. The first part is a retriever or a baseline.")
        if ranker is not None and not isinstance(ranker.network, Ranker | Retriever):
            raise RequestError(f"{ranker.name} does not rank. Give a ranker such as NeuMF, or a retriever.")
        if candidates < 1:
            raise RequestError(f"candidates is {candidates}. It is a whole number from 1.")
        settings, built = None, None
        if isinstance(retriever.network, Retriever):
            settings = choose(retriever.dataset.num_items) if index == "auto" else index
            items = torch.arange(1, retriever.dataset.num_items + 1)
            built = settings.build(items, retriever.vectors(), queries=training_queries(retriever))
        fallback = PopularityNetwork(Popularity(), retriever.catalogue)
        fallback.solve(retriever.dataset.positives().events)
        return cls(retriever, built, settings, ranker, candidates, fallback)

    @property
    def history(self) -> int:
        """How many events of history a request carries, for the longest-sighted part."""
        return max(part.history for part in (self.retriever, self.ranker) if part is not None)

    @property
    def is_exact(self) -> bool:
        """Whether its search scores every item."""
        return self.index is None or isinstance(self.index_settings, Exact)

    def exact(self) -> Funnel:
        """The same with every item scored: what it would find if its index missed nothing."""
        if self.index is None or self.is_exact:
            return self
        return replace(self, index=Exact().build(*self.index.alive()), index_settings=Exact())

    def steps(self, *, run_exact: bool) -> Steps:
        """What evaluation is told of it; with ``run_exact`` also how to search exactly beside an approximate index."""
        num_items, catalogue = self.retriever.dataset.num_items, None
        if self.index is not None and len(self.index) < num_items:
            catalogue = torch.zeros(num_items + 1, dtype=torch.bool)
            catalogue[self.index.alive()[0]] = True
        exact = self.exact().retrieve if run_exact and not self.is_exact else None
        return Steps(self.ranker is not None, self.is_exact, exact, catalogue)

    @torch.inference_mode()
    def shortlist(self, requests: Requests, *, k: int, filter: Filter | None = None) -> Stages:
        """The ``k`` best items (B, k) of B requests, after each step; the filter acts inside the search, before its cut."""
        lap = _Laps()
        width = k if self.ranker is None else max(k, self.candidates)
        retrieved = self.retrieve(requests, width, filter=filter, lap=lap)
        if self.ranker is None:
            ranked = Candidates(retrieved.items[:, :k], retrieved.scores[:, :k])
            return Stages(retrieved, retrieved, ranked, lap.seconds)
        # Where nothing is known of the user, a ranker of a retriever's candidates has nothing to say of popular items.
        scores = torch.where(self.can_serve(requests)[:, None], self._rank(requests, retrieved), retrieved.scores)
        ranked = replace(retrieved.reorder(scores, k), evidence=None)
        lap("rank")
        return Stages(retrieved, retrieved, ranked, lap.seconds)

    @torch.inference_mode()
    def retrieve(
        self, requests: Requests, k: int, *, filter: Filter | None = None, lap: Callable[[str], None] | None = None
    ) -> Candidates:
        """The retriever's best ``k``, with its score and rank as evidence; popular items where nothing is known.

        ``lap`` is told the name of each step when it is done.
        """
        lap = _Laps() if lap is None else lap
        network = self.retriever.network.eval()
        if isinstance(network, Retriever):
            assert self.index is not None
            queries = network.embed_requests(requests)
            lap("embed")
            found = self.index.search(queries, k, filter=filter)
        else:
            found = cast("CandidateSource", network).search(requests, k, filter=filter)
        lap("search")
        served = self.can_serve(requests)
        if not bool(served.all()):
            rows = (~served).nonzero().squeeze(1)
            popular = self.fallback.search(requests.take(rows), k, filter=None if filter is None else filter.take(rows))
            found = _with_rows(found, rows, popular)
        found = self._filled(requests, found, k, filter)
        ranks = torch.arange(k, dtype=torch.float32).expand_as(found.scores)
        found = replace(found, evidence=torch.stack((found.scores, ranks), dim=2))
        lap("fill")
        return found

    def _filled(self, requests: Requests, found: Candidates, k: int, filter: Filter | None) -> Candidates:
        """Popular items in the slots that a source left empty (item-kNN, where nothing is similar), below what it found."""
        rows = (~found.valid).any(1).nonzero().squeeze(1)
        if not len(rows):
            return found
        part = found.take(rows)
        own = Filter() if filter is None else filter.take(rows)
        met = part.items if own.exclude is None else torch.cat((own.exclude, part.items), dim=1)
        popular = self.fallback.search(requests.take(rows), k, filter=Filter(own.allowed, met))
        lowest = part.scores.masked_fill(~part.valid, torch.inf).amin(1, keepdim=True)  # (B, 1)
        lowest = lowest.masked_fill(lowest == torch.inf, 0)
        below = (lowest - 1 - torch.arange(k)).masked_fill(~popular.valid, -torch.inf)
        joined = Candidates(torch.cat((part.items, popular.items), dim=1), torch.cat((part.scores, below), dim=1))
        return _with_rows(found, rows, joined.reorder(joined.scores, k))

    def can_serve(self, requests: Requests) -> Tensor:
        """Of which requests (B,) the retriever knows enough."""
        return cast("Retriever | CandidateSource", self.retriever.network).can_serve(requests)

    def _rank(self, requests: Requests, candidates: Candidates) -> Tensor:
        assert self.ranker is not None
        network = self.ranker.network.eval()
        if isinstance(network, Ranker):
            return network.score(requests, candidates)
        return pair_scores(network, requests, candidates.items)


@dataclass(slots=True)
class _Laps:
    """The seconds between calls, by the name of the step that ends with the call."""

    seconds: dict[str, float] = field(default_factory=dict)
    last: float = field(default_factory=time.perf_counter)

    def __call__(self, step: str) -> None:
        now = time.perf_counter()
        self.seconds[step] = now - self.last
        self.last = now


def _with_rows(found: Candidates, rows: Tensor, others: Candidates) -> Candidates:
    """``found`` with the answers of ``rows`` (N,) replaced by ``others`` (N, k)."""
    return Candidates(found.items.index_copy(0, rows, others.items), found.scores.index_copy(0, rows, others.scores))


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
