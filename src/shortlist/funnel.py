"""Encoded requests to a ranked shortlist: embed, search, filter, join the sources, re-rank, and choose a varied few.

It does not know ids. Evaluation, batch and HTTP all go through :meth:`Funnel.shortlist`: what is measured is what is served.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, cast

import torch
from torch import Tensor

from shortlist.contracts import Candidates, Filter, ItemIndex, Ranker, Requests, Retriever, Stages
from shortlist.diversity import POOL, Selection, Vectors, select
from shortlist.errors import RequestError
from shortlist.evaluation import Steps
from shortlist.index import AnyIndex
from shortlist.model import Model, pair_scores
from shortlist.models.popularity import Popularity, PopularityNetwork
from shortlist.sources import Lap, Source, as_served, evidence, evidence_width, fuse


@dataclass(frozen=True, slots=True)
class Funnel:
    """Sources, an optional ranker of their best ``candidates``, a last choice, and popularity where nothing is known.

    ``offered`` are the items (I+1,) that may be answered, None: all; the sources' indexes hold no others. Make one with
    :meth:`of`.
    """

    sources: tuple[Source, ...]
    ranker: Model | None
    candidates: int
    fallback: PopularityNetwork
    selection: Selection = Selection()
    offered: Tensor | None = None

    def __post_init__(self) -> None:
        self._vectors(self.selection)

    @classmethod
    def of(
        cls,
        retriever: Model | Sequence[Model],
        *,
        index: AnyIndex | Literal["auto"] = "auto",
        ranker: Model | None = None,
        candidates: int = 200,
    ) -> Funnel:
        """Index the items of each retriever and count what is popular in the first one's training events."""
        models = [retriever] if isinstance(retriever, Model) else list(retriever)
        if not models:
            raise RequestError("There is no source to find candidates. Give a retriever, or a list of them.")
        if ranker is not None and not isinstance(ranker.network, Ranker | Retriever):
            raise RequestError(f"{ranker.name} does not rank. Give a ranker such as NeuMF, or a retriever.")
        if ranker is not None and ranker.catalogue.evidence not in (0, evidence_width(len(models))):
            raise RequestError(
                f"{ranker.name} was fitted on the candidates of another number of sources than the {len(models)} given. "
                "Fit it with candidates_from= the same sources, in the same order."
            )
        if candidates < 1:
            raise RequestError(f"candidates is {candidates}. It is a whole number from 1.")
        sources = tuple(Source.of(model, index=index) for model in models)
        fallback = PopularityNetwork(Popularity(), models[0].catalogue)
        fallback.solve(models[0].dataset.positives().events)
        return cls(sources, ranker, candidates, fallback)

    @property
    def retriever(self) -> Model:
        """The first source's model."""
        return self.sources[0].model

    @property
    def index(self) -> ItemIndex | None:
        """The first index that a source has."""
        return next((source.index for source in self.sources if source.index is not None), None)

    @property
    def embedding(self) -> Model | None:
        """The first source's model that has item vectors."""
        return next((source.model for source in self.sources if isinstance(source.model.network, Retriever)), None)

    @property
    def scorer(self) -> Model:
        """The model that scores single pairs: the ranker, or without one a source's that can."""
        return self.ranker or self.embedding or self.retriever

    @property
    def models(self) -> tuple[Model, ...]:
        """The ranker, and those of the sources."""
        return (*(() if self.ranker is None else (self.ranker,)), *(source.model for source in self.sources))

    @property
    def history(self) -> int:
        """How many events of history a request carries, for the longest-sighted part."""
        return max(model.history for model in self.models)

    @property
    def is_exact(self) -> bool:
        """Whether every source scores every item."""
        return all(source.is_exact for source in self.sources)

    def exact(self) -> Funnel:
        """The same with every item scored: what it would find if its indexes missed nothing."""
        return replace(self, sources=tuple(source.exact() for source in self.sources))

    def steps(self, *, run_exact: bool) -> Steps:
        """What evaluation is told of it; with ``run_exact`` also how to search exactly beside an approximate index."""
        exact = self.exact().retrieve if run_exact and not self.is_exact else None
        return Steps(self.ranker is not None, self.is_exact, exact, self._catalogue())

    def _catalogue(self) -> Tensor | None:
        """Which items (I+1,) a source can find; None: all."""
        num_items = self.retriever.dataset.num_items
        indexes = [source.index for source in self.sources]
        if any(index is None or len(index) >= num_items for index in indexes):
            return None
        catalogue = torch.zeros(num_items + 1, dtype=torch.bool)
        for index in indexes:
            assert index is not None
            catalogue |= index.holds(torch.arange(num_items + 1))
        return catalogue

    @torch.inference_mode()
    def shortlist(
        self,
        requests: Requests,
        *,
        k: int,
        filter: Filter | None = None,
        selection: Selection | None = None,
        candidates: int | None = None,
    ) -> Stages:
        """The ``k`` best items (B, k) of B requests, after each step.

        ``selection`` and ``candidates`` are this call's own. The filter acts inside the search, before its cut.
        """
        candidates = self.candidates if candidates is None else candidates
        if candidates < 1:
            raise RequestError(f"candidates is {candidates}. It is a whole number from 1.")
        lap = _Laps()
        last = self.selection if selection is None else selection
        depth = k if self.ranker is None else max(k, candidates)
        if last.is_active:
            depth = max(POOL * k, candidates)
        retrieved = self.retrieve(requests, depth, filter=filter, lap=lap)
        served = self.can_serve(requests)
        ranked = self._ranked(requests, retrieved, served, depth if last.is_active else k)
        if self.ranker is not None:
            lap("rank")
        if last.is_active:
            ranked = self._selected(last, ranked, k)
            lap("select")
        return Stages(retrieved, retrieved, ranked, lap.seconds, served)

    @torch.inference_mode()
    def retrieve(
        self, requests: Requests, k: int, *, filter: Filter | None = None, lap: Lap | None = None
    ) -> Candidates:
        """The sources' best ``k``, with their evidence; popular items where nothing is known.

        Each source finds its own best ``k``; several are joined by :func:`~shortlist.sources.fuse`. ``lap`` is told the
        name of each step when it is done.
        """
        lap = _Laps() if lap is None else lap
        served = [source.can_serve(requests) for source in self.sources]
        offered = filter if self.offered is None else (filter or Filter()).within(self.offered)
        filters = [offered if source.index is None else filter for source in self.sources]
        found = [
            source.search(requests, k, filter=own, lap=lap) for source, own in zip(self.sources, filters, strict=True)
        ]
        if len(found) > 1:
            found = [answer.where(rows) for answer, rows in zip(found, served, strict=True)]
        joined = found[0] if len(found) == 1 else fuse(found, k)
        known = served[0] if len(served) == 1 else torch.stack(served).any(0)
        if not bool(known.all()):
            nobody = (~known).nonzero().squeeze(1)
            own = None if offered is None else offered.take(nobody)
            joined = _with_rows(joined, nobody, self.fallback.search(requests.take(nobody), k, filter=own))
        joined = self._filled(requests, joined, k, offered)
        joined = replace(joined, evidence=evidence(joined, found))
        lap("fill")
        return joined

    def _filled(self, requests: Requests, found: Candidates, k: int, filter: Filter | None) -> Candidates:
        """Popular items in the slots that a source left empty (item-kNN, where nothing is similar), below what it found."""
        if bool(found.items.all()):
            return found
        rows = (~found.valid).any(1).nonzero().squeeze(1)
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
        """Of which requests (B,) a source knows enough; of popularity, which answers all the same, only where it is alone."""
        asking = [source for source in self.sources if not isinstance(source.model.network, PopularityNetwork)]
        served = [source.can_serve(requests) for source in asking or self.sources]
        return served[0] if len(served) == 1 else torch.stack(served).any(0)

    def _ranked(self, requests: Requests, candidates: Candidates, served: Tensor, k: int) -> Candidates:
        """The best ``k`` of the candidates in the ranker's order, or without one in theirs."""
        if self.ranker is None:
            return Candidates(candidates.items[:, :k], candidates.scores[:, :k])
        network, known = as_served(self.ranker.network), requests.latest(self.ranker.history)
        if hasattr(network, "score"):  # isinstance(network, Ranker) takes ten times as long
            scores = cast("Ranker", network).score(known, candidates)
        else:
            scores = pair_scores(network, known, candidates.items)
        # Where nothing is known of the user, a ranker of a retriever's candidates has nothing to say of popular items.
        if not bool(served.all()):
            scores = torch.where(served[:, None], scores, candidates.scores)
        return Candidates(candidates.items, candidates.scores).reorder(scores, k)

    def _selected(self, selection: Selection, ranked: Candidates, k: int) -> Candidates:
        """The last step: ``k`` of the ranked ones, not too much alike."""
        return select(selection, ranked, k, vectors=self._vectors(selection))

    def _vectors(self, selection: Selection) -> Vectors | None:
        """What the items are compared by, where they are."""
        if selection.diversity == 0:
            return None
        network = None if self.embedding is None else as_served(self.embedding.network)
        if not isinstance(network, Retriever):
            raise RequestError(
                "diversity compares item vectors, and no source has any. Add a retriever such as MF or TwoTower, or use caps."
            )
        return network.embed_items


@dataclass(slots=True)
class _Laps:
    """The seconds between calls, by the name of the step that ends with the call."""

    seconds: dict[str, float] = field(default_factory=dict)
    last: float = field(default_factory=time.perf_counter)

    def __call__(self, step: str) -> None:
        now = time.perf_counter()
        self.seconds[step] = self.seconds.get(step, 0.0) + now - self.last
        self.last = now


def _with_rows(found: Candidates, rows: Tensor, others: Candidates) -> Candidates:
    """``found`` with the answers of ``rows`` (N,) replaced by ``others`` (N, k)."""
    return Candidates(found.items.index_copy(0, rows, others.items), found.scores.index_copy(0, rows, others.scores))
