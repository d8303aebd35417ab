"""A small data set with everything in it: features of all kinds, times, missing values."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from shortlist.data import Dataset, read_dataset

USERS, ITEMS, EVENTS = 12, 20, 150


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
