"""Item vectors into a graph index that finds most of the best while scoring few, tuned to the recall asked for."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from shortlist.errors import SearchError, SettingsError
from shortlist.index.checks import stored
from shortlist.index.delta import Among, overlay, restored
from shortlist.index.editable import EditableIndex
from shortlist.index.exact import checked_catalogue, kept_queries, stored_catalogue, stored_queries
from shortlist.index.graph import Graph, GraphSearch, build_graph
from shortlist.index.table import Table
from shortlist.index.tune import LARGEST_SEED, TUNED_K, Goal, cheapest, check_settings, ladder, warn_unreached

_WIDEST = 64  # the largest ef_search that is tried, in k


@dataclass(frozen=True, slots=True)
class HNSW:
    """A navigable graph (see :mod:`shortlist.index.graph`), searched by FAISS.

    ``recall`` is the part of the exact 100 best that an average query finds; ``ef_search``, how many vectors a search
    keeps in view, is chosen for it at the build, on queries held out from the report, unless it is given. On its lowest
    level a vector has up to twice ``neighbours`` links (an even number), 8 bytes for each of ``neighbours``;
    ``ef_construction`` is as ``ef_search``, while it is built. More of either: the same recall with less work, and a
    slower build.

    Give ``build`` real queries: item vectors, the stand-in, are easier to find than what users ask for.
    """

    recall: float = 0.95
    neighbours: int = 32
    ef_construction: int = 80
    ef_search: int | None = None  # None: tuned to ``recall``
    seed: int = 0

    def __post_init__(self) -> None:
        if not 4 <= self.neighbours <= 256 or self.neighbours % 2:
            raise SettingsError(f"HNSW.neighbours is {self.neighbours!r}. It is an even number from 4 to 256.")
        check_settings(
            self,
            recall=self.recall,
            ranges={"ef_construction": (1, 100_000), "ef_search": (1, 100_000), "seed": (0, LARGEST_SEED)},
        )

    def build(self, items: Tensor, vectors: Tensor, *, queries: Tensor | None = None) -> EditableIndex:
        """An index of ``items`` (n,) with ``vectors`` (n, D); ``queries`` (Q, D) tune and measure it.

        Warns (ShortlistWarning) where the wanted recall cannot be reached.
        """
        started = time.perf_counter()
        items, vectors = checked_catalogue(items, vectors)
        kept = kept_queries(queries, vectors)
        graph = build_graph(vectors, neighbours=self.neighbours, ef_construction=self.ef_construction, seed=self.seed)
        searcher = GraphSearch(graph, vectors, neighbours=self.neighbours)
        ef_search = self._tuned(searcher, kept) if self.ef_search is None else self.ef_search
        state = overlay(Table.of(items, searcher.vectors), _Tuned(searcher, ef_search))
        build_s = time.perf_counter() - started
        return EditableIndex(self, state, tuned=replace(self, ef_search=ef_search), queries=kept, build_s=build_s)

    def restore(self, arrays: dict[str, Tensor]) -> EditableIndex:
        """The index whose ``arrays()`` these are; a graph that leads outside itself is refused before FAISS sees it."""
        items, vectors = stored_catalogue(arrays)
        levels = stored(arrays, "levels", torch.int32, ndim=1)
        if len(levels) != len(vectors):
            raise SearchError(
                f"A saved index has {len(vectors)} vectors and {len(levels)} levels: one of each is needed."
            )
        ef_search = int(stored(arrays, "ef_search", torch.int64, ndim=0))
        if ef_search < 1:
            raise SearchError(f"A saved index has ef_search {ef_search}. It is a whole number from 1.")
        entry = int(stored(arrays, "entry", torch.int64, ndim=0))
        graph = Graph(levels, stored(arrays, "links", torch.int32, ndim=1), entry)
        graph.check(self.neighbours)
        searcher = GraphSearch(graph, vectors, neighbours=self.neighbours)
        state = restored(arrays, _Tuned(searcher, ef_search), items=items, vectors=searcher.vectors)
        tuned = replace(self, ef_search=ef_search)
        return EditableIndex(self, state, tuned=tuned, queries=stored_queries(arrays, vectors))

    def _tuned(self, searcher: GraphSearch, queries: Tensor | None) -> int:
        """The least ``ef_search`` that reaches the recall."""
        count = len(searcher.vectors)
        if not count:
            return TUNED_K
        goal = Goal.of(searcher.vectors, queries=queries, wanted=self.recall, seed=self.seed)
        rungs = ladder(goal.k, min(count, _WIDEST * goal.k))
        ef_search, short = cheapest(goal, [rungs], lambda ef: searcher.nearest(goal.queries, goal.k, ef), float)
        if short is not None:
            advice = "Raise neighbours or ef_construction"
            warn_unreached("HNSW", goal, short, used=f"ef_search={ef_search}", advice=advice)
        return ef_search


@dataclass(frozen=True, slots=True)
class _Tuned:
    """A graph with the ``ef_search`` it is searched with: a :class:`~shortlist.index.delta.Searcher`."""

    graph: GraphSearch
    ef_search: int

    def nearest(self, queries: Tensor, k: int, *, spare: int, among: Among | None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        return self.graph.nearest(queries, k, self._ef(k, 1.0 if among is None else among.share), among=among)

    def effort(self, k: int, *, spare: int, share: float) -> float:  # noqa: ARG002
        return self.graph.effort(self._ef(k, share))

    def arrays(self) -> dict[str, Tensor]:
        graph = self.graph.graph
        return {
            "levels": graph.levels,
            "links": graph.links,
            "entry": torch.tensor(graph.entry),
            "ef_search": torch.tensor(self.ef_search),
        }

    def variants(self) -> Iterator[tuple[str, _Tuned]]:
        """Half, double, … the ``ef_search``, within what the tuning looks at."""
        for step in range(-3, 5):
            ef_search = round(self.ef_search * 2**step)
            if step and TUNED_K <= ef_search <= len(self.graph.vectors):
                yield f"ef_search={ef_search}", replace(self, ef_search=ef_search)

    def _ef(self, k: int, share: float) -> int:
        """Beyond the k it was tuned for, a search looks wider in proportion; so it does where it may answer but a share."""
        wanted = max(k, self.ef_search * max(1.0, k / TUNED_K))
        return min(math.ceil(wanted / share), max(1, len(self.graph.vectors)))
