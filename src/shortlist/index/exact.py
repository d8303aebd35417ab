"""Item vectors into an index that scores all of them."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from shortlist.errors import SearchError
from shortlist.index.checks import checked_items, checked_vectors, stored
from shortlist.index.editable import EditableIndex
from shortlist.index.measure import sample
from shortlist.index.table import Table


@dataclass(frozen=True, slots=True)
class Exact:
    """Every item is scored. Right by definition, and the fastest there is up to some ten thousand items.

    >>> index = Exact().build(torch.tensor([1, 2, 5]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    >>> index.search(torch.tensor([[2.0, 1.0]]), 2).items.tolist()
    [[5, 1]]
    """

    def build(self, items: Tensor, vectors: Tensor, *, queries: Tensor | None = None) -> EditableIndex:
        """An index of ``items`` (n,) with ``vectors`` (n, D), which it copies; ``queries`` (Q, D) are for its report."""
        started = time.perf_counter()
        items, vectors = checked_catalogue(items, vectors)
        state = Table.of(items, vectors)
        return EditableIndex(self, state, queries=kept_queries(queries, vectors), build_s=time.perf_counter() - started)

    def restore(self, arrays: dict[str, Tensor]) -> EditableIndex:
        """The index whose ``arrays()`` these are."""
        vectors = checked_vectors(stored(arrays, "vectors", torch.float32, ndim=2), what="Vectors")
        items = checked_items(stored(arrays, "items", torch.int64, ndim=1), count=len(vectors))
        return EditableIndex(self, Table.of(items, vectors), queries=stored_queries(arrays, vectors))


def checked_catalogue(items: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """``items`` (n,) and a copy of their ``vectors`` (n, D): later changes of the caller's do not reach the index."""
    vectors = checked_vectors(vectors, what="Vectors").clone()
    if not vectors.shape[1]:
        raise SearchError("Vectors have width 0. An index needs at least one value for each item.")
    return checked_items(items, count=len(vectors)).clone(), vectors


def stored_catalogue(arrays: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The items (n,) and vectors (n, D) that a library's saved index was built over; an item 0 was removed since."""
    vectors = checked_vectors(stored(arrays, "vectors", torch.float32, ndim=2), what="Vectors")
    items = stored(arrays, "items", torch.int64, ndim=1)
    if not vectors.shape[1] or len(items) != len(vectors):
        raise SearchError(
            f"A saved index has {len(items)} items and vectors of shape {tuple(vectors.shape)}. "
            "There is one of each for every item."
        )
    return items, vectors


def kept_queries(queries: Tensor | None, vectors: Tensor) -> Tensor | None:
    """A sample of ``queries`` (Q, D), or None where none are given."""
    if queries is None or not len(queries):
        return None
    return sample(checked_vectors(queries, what="Queries", width=vectors.shape[1]), seed=0)


def stored_queries(arrays: dict[str, Tensor], vectors: Tensor) -> Tensor | None:
    """The queries that a saved index was measured with."""
    queries = checked_vectors(stored(arrays, "queries", torch.float32, ndim=2), what="Queries", width=vectors.shape[1])
    return queries if len(queries) else None
