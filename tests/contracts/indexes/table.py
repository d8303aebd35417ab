"""The indexes that must do what every index must, and how much each must find; a new index gets all checks for one row."""

from __future__ import annotations

from typing import Any

from shortlist.index import HNSW, IVFPQ, Annoy, Exact, ScaNN

# Settings, and the part of the exact 100 best that they must find.
INDEXES: dict[str, tuple[Any, float]] = {
    "Exact": (Exact(), 1.0),
    "HNSW": (HNSW(recall=0.95), 0.95),
    "IVFPQ": (IVFPQ(recall=0.95), 0.95),
    "ScaNN": (ScaNN(recall=0.95), 0.95),
    "Annoy": (Annoy(recall=0.95), 0.95),
}
EXTRAS = {"ScaNN": "scann", "Annoy": "annoy"}  # libraries that may be missing
