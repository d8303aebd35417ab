"""Item vectors into Annoy's forest of random splits; whatever lies in the leaves that are near is scored exactly.

Bernhardsson 2013, "Annoy: approximate nearest neighbors oh yeah", github.com/spotify/annoy. Its "dot" metric adds a
value to each vector that makes all of one length (Bachrach et al. 2014, "Speeding up the Xbox recommender system using
a Euclidean transformation for inner-product spaces"), so that lengths may be unequal.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shortlist.errors import SearchError
from shortlist.index.checks import stored
from shortlist.index.delta import FEWEST, nothing, overlay, restored
from shortlist.index.editable import EditableIndex
from shortlist.index.exact import checked_catalogue, kept_queries, stored_catalogue, stored_queries
from shortlist.index.native import optional_library, sealed, unsealed
from shortlist.index.overfetch import Overfetching
from shortlist.index.table import Table
from shortlist.index.tune import (
    LARGEST_SEED,
    TUNED_K,
    Goal,
    cheapest,
    check_settings,
    ladder,
)

_WORK = 20  # of a node that is inspected, in exact scores of a batch


@dataclass(frozen=True, slots=True)
class Annoy:
    """Spotify's Annoy; it comes with the extra "annoy", which is compiled when it is installed.

    ``recall`` is the part of the exact 100 best that an average query finds. ``search_k``, how many nodes of its
    ``trees`` a query inspects, is chosen for it at the build, on queries held out from the report, unless it is given.
    It knows no filters: under one it finds more and leaves some out. It keeps a second copy of the vectors, in a file
    of the temporary folder and in a bundle. Measured slower than the others at the same recall; it is here for those who come from it.
    """

    recall: float = 0.95
    trees: int = 50
    search_k: int | None = None  # None: tuned to ``recall``
    seed: int = 0

    def __post_init__(self) -> None:
        ranges = {"trees": (1, 10_000), "search_k": (1, LARGEST_SEED), "seed": (0, LARGEST_SEED)}
        check_settings(self, recall=self.recall, ranges=ranges)

    def build(self, items: Tensor, vectors: Tensor, *, queries: Tensor | None = None) -> EditableIndex:
        """An index of ``items`` (n,) with ``vectors`` (n, D); ``queries`` (Q, D) tune and measure it,
        as for :class:`~shortlist.index.HNSW`.

        It is built on one thread, so that the same seed gives the same forest.
        """
        library = _annoy()
        started = time.perf_counter()
        items, vectors = checked_catalogue(items, vectors)
        kept = kept_queries(queries, vectors)
        trees, file = library.AnnoyIndex(vectors.shape[1], "dot"), _File()
        if len(vectors) >= FEWEST:
            trees.set_seed(self.seed)
            for row, vector in enumerate(vectors.tolist()):
                trees.add_item(row, vector)
            trees.build(self.trees, n_jobs=1)
            trees.save(
                str(file.path)
            )  # from now on Annoy reads from there: saving later would pull it from under a search
        forest = Forest(trees, len(vectors), 1, file)
        search_k = self._tuned(forest, vectors, kept) if self.search_k is None else self.search_k
        state = overlay(Table.of(items, vectors), Overfetching(replace(forest, search_k=search_k)))
        tuned = replace(self, search_k=search_k)
        return EditableIndex(self, state, tuned=tuned, queries=kept, build_s=time.perf_counter() - started)

    def restore(self, arrays: dict[str, Tensor]) -> EditableIndex:
        """The index whose ``arrays()`` these are; a forest that is not as it was written never reaches Annoy."""
        library = _annoy()
        items, vectors = stored_catalogue(arrays)
        search_k = int(stored(arrays, "search_k", torch.int64, ndim=0))
        if search_k < 1:
            raise SearchError(f"A saved index has search_k {search_k}. It is a whole number from 1.")
        trees = library.AnnoyIndex(vectors.shape[1], "dot")
        data, file = unsealed(arrays, "trees"), _File()
        if len(data):
            data.tofile(file.path)
            trees.load(str(file.path))
        if trees.get_n_items() != (len(vectors) if len(data) else 0):
            raise SearchError("The forest of a saved index does not fit its vectors. Build the index again.")
        forest = Forest(trees, len(vectors), search_k, file)
        state = restored(arrays, Overfetching(forest), items=items, vectors=vectors)
        tuned = replace(self, search_k=search_k)
        return EditableIndex(self, state, tuned=tuned, queries=stored_queries(arrays, vectors))

    def _tuned(self, forest: Forest, vectors: Tensor, queries: Tensor | None) -> int:
        """The least ``search_k`` that reaches the recall, which there always is: at the end all vectors are scored."""
        if len(vectors) < FEWEST:
            return TUNED_K
        goal = Goal.of(vectors, queries=queries, wanted=self.recall, seed=self.seed)
        rungs = ladder(goal.k, len(vectors) * self.trees, factor=1.5)
        return cheapest(goal, [rungs], lambda rung: forest.searched(goal.queries, goal.k, rung), float)[0]


@dataclass(frozen=True, slots=True)
class Forest:
    """Annoy's index of n vectors: an :class:`~shortlist.index.overfetch.Unfiltered` library.

    Without trees nothing is found, and all is left to exact search.
    """

    trees: Any
    count: int
    search_k: int
    file: _File  # that Annoy reads whenever it searches

    def __len__(self) -> int:
        return self.count

    def nearest(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Scores and rows (B, k), as tuned."""
        return self.searched(queries, k, self._reach(k))

    def effort(self, k: int) -> float:
        """The work of that, in exact scores."""
        return _WORK * self._reach(k)

    def arrays(self) -> dict[str, Tensor]:
        """What it was read from, and its settings."""
        data = np.fromfile(self.file.path, dtype=np.uint8) if self.file.path.exists() else np.empty(0, dtype=np.uint8)
        return {"trees": sealed(data), "search_k": torch.tensor(self.search_k)}

    def searched(self, queries: Tensor, k: int, search_k: int) -> tuple[Tensor, Tensor]:
        """Scores and rows (B, k), best first, of those in the ``search_k`` nodes inspected."""
        scores, rows = nothing(queries, k)
        for number, query in enumerate(queries.tolist()):
            found, products = self.trees.get_nns_by_vector(query, k, search_k, include_distances=True)
            rows[number, : len(found)] = torch.tensor(found)
            scores[number, : len(found)] = torch.tensor(products)
        return scores, rows

    def variants(self) -> Iterator[tuple[str, Forest]]:
        """Half, double, … the ``search_k``."""
        for step in range(-3, 4):
            if step and self.file.path.exists():
                search_k = max(1, round(self.search_k * 2**step))
                yield f"search_k={search_k}", replace(self, search_k=search_k)

    def _reach(self, k: int) -> int:
        """Beyond the k it was tuned for, more in proportion."""
        return math.ceil(self.search_k * max(1.0, k / TUNED_K))


class _File:
    """A place in the temporary folder, which is gone when nobody holds it."""

    def __init__(self) -> None:
        folder = tempfile.mkdtemp(prefix="shortlist-annoy-")
        self.path = Path(folder) / "trees"
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)


def _annoy() -> Any:
    return optional_library("annoy", extra="annoy")
