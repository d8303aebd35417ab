"""Item vectors into an index that finds the items of largest inner product with a query."""

from __future__ import annotations

from shortlist.index.annoy import Annoy
from shortlist.index.editable import EditableIndex
from shortlist.index.exact import Exact
from shortlist.index.hnsw import HNSW
from shortlist.index.ivfpq import IVFPQ
from shortlist.index.measure import IndexReport, measure, recall
from shortlist.index.scann import ScaNN

__all__ = [
    "HNSW",
    "IVFPQ",
    "Annoy",
    "AnyIndex",
    "EditableIndex",
    "Exact",
    "IndexReport",
    "ScaNN",
    "choose",
    "measure",
    "recall",
]

AnyIndex = Exact | HNSW | IVFPQ | ScaNN | Annoy

# Of width 64, on one thread, a query over so many takes 1.6 ms exactly and 0.25 ms with IVFPQ; of twice as many 2.6 and 0.26.
_EXACT_ITEMS = 100_000


def choose(num_items: int) -> AnyIndex:
    """The index for a catalogue of ``num_items``: exact while that is fast enough.

    >>> choose(3_706), choose(2_000_000)
    (Exact(), IVFPQ(recall=0.95, nlist=None, nprobe=None, k_factor=None, seed=0))
    """
    return Exact() if num_items <= _EXACT_ITEMS else IVFPQ()
