"""Where tests find real data and golden vectors (not part of the project), and a small data set to test with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
import polars as pl
import pytest
import torch

from shortlist.data import Dataset, read_dataset

ROOT = Path(__file__).resolve().parents[1]
USERS, ITEMS, EVENTS = 12, 20, 150


def _folder(variable: str, name: str) -> Path:
    """The folder that ``variable`` names, else ``../shared/name``; absent, the test is skipped, or fails if it was named."""
    named = os.environ.get(variable)
    folder = Path(named) if named else ROOT.parent / "shared" / name
    if not folder.is_dir():
        reason = f"{folder} is not there; set {variable} to the folder with the {name} files"
        if named:
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real data sets with published figures."""
    return _folder("SHORTLIST_DATA", "data")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Numbers computed by the authors' implementations."""
    return _folder("SHORTLIST_GOLDEN", "golden")


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """12 users, 20 items, 150 events, ratings, times; two item features, one multi-hot, two user features."""
    generator = np.random.default_rng(0)
    users = np.concatenate([np.arange(USERS), generator.integers(0, USERS, EVENTS - USERS)])
    items = np.concatenate([np.arange(ITEMS), generator.integers(0, ITEMS, EVENTS - ITEMS)])
    events = pl.DataFrame(
        {
            "user_id": [f"u{user:02d}" for user in users],
            "item_id": items + 1,
            "rating": generator.integers(1, 6, EVENTS),
            "timestamp": 1_000_000 + np.arange(EVENTS) * 3_600,
        }
    )
    item_table = pl.DataFrame(
        {
            "item_id": np.arange(ITEMS) + 1,
            "category": [("tea", "cup", "pot")[item % 3] for item in range(ITEMS)],
            "tags": ["|".join(("red", "blue", "green")[: item % 3 + 1]) for item in range(ITEMS)],
            "price": [None if item % 7 == 0 else float(item) + 0.5 for item in range(ITEMS)],
        }
    )
    user_table = pl.DataFrame(
        {
            "user_id": [f"u{user:02d}" for user in range(USERS)],
            "country": [("FR", "DE")[user % 2] for user in range(USERS)],
            "age": [20.5 + user for user in range(USERS)],
        }
    )
    features = [
        {"name": "category", "kind": "categorical", "owner": "item"},
        {"name": "tags", "kind": "multi", "owner": "item", "separator": "|"},
        {"name": "price", "kind": "numeric", "owner": "item"},
        {"name": "country", "kind": "categorical", "owner": "user"},
        {"name": "age", "kind": "numeric", "owner": "user"},
    ]
    return read_dataset(events, items=item_table, users=user_table, schema={"features": features})


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """So little work as in tests of indexes is done fastest by one thread, above all on a busy machine."""
    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    faiss.omp_set_num_threads(before[1])
