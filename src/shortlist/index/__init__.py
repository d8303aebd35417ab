"""Item vectors into an index that finds the items of largest inner product with a query."""

from __future__ import annotations

from shortlist.index.editable import EditableIndex
from shortlist.index.exact import Exact
from shortlist.index.hnsw import HNSW
from shortlist.index.ivfpq import IVFPQ
from shortlist.index.measure import IndexReport, measure, recall

__all__ = ["HNSW", "IVFPQ", "AnyIndex", "EditableIndex", "Exact", "IndexReport", "choose", "measure", "recall"]

AnyIndex = Exact | HNSW | IVFPQ

_EXACT_ITEMS = 100_000  # scoring all of them takes a few milliseconds


def choose(num_items: int) -> AnyIndex:
    """The index for a catalogue of ``num_items``: exact while that is fast enough.

    >>> choose(3_706), choose(2_000_000)
    (Exact(), HNSW(recall=0.95, neighbours=32, ef_construction=80, ef_search=None, seed=0))
    """
    return Exact() if num_items <= _EXACT_ITEMS else HNSW()
