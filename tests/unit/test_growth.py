"""Models for more users and items than they were fitted on."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import shortlist as sl
from shortlist.data import Dataset
from shortlist.data.grow import with_items, with_users
from shortlist.growth import grown
from shortlist.model import pair_scores

QUICK = sl.Training(epochs=1, batch_size=32, patience=None)
KINDS: dict[str, Any] = {
    "DeepFM": sl.DeepFM(hidden=(8,), init_std=0.05),
    "DLRM": sl.DLRM(embedding_dim=4, top=(8,)),
    "MF": sl.MF(embedding_dim=8, negatives=8),
    "NeuMF": sl.NeuMF(),
    "two towers": sl.TwoTower(embedding_dim=8, hidden=(8,), history=0, negatives=8),
}
NEW_USERS = pl.DataFrame({"user_id": ["x", "y"], "country": ["FR", "DE"], "age": [30.0, 40.0]})
NEW_ITEMS = pl.DataFrame(
    {"item_id": [900, 901], "category": ["cup", "tea"], "tags": ["red", "red|blue"], "price": [4.0, 1.0]}
)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("items_first", [True, False])
def test_users_and_items_are_added_in_any_order(name: str, items_first: bool, dataset: Dataset) -> None:
    model = sl.fit(KINDS[name], dataset, training=QUICK)
    known = torch.arange(1, 21).expand(13, -1)
    before = pair_scores(model.network, model.requests_of(torch.arange(13)), known)
    larger, current = dataset, model
    for step in ("items", "users", "items") if items_first else ("users", "items"):
        if step == "users":
            larger = with_users(larger, NEW_USERS)
        elif larger.num_items == 20:
            larger, _ = with_items(larger, NEW_ITEMS[:1])
        else:
            larger, _ = with_items(larger, NEW_ITEMS[1:])
        current = grown(current, larger)
    assert torch.equal(pair_scores(current.network, current.requests_of(torch.arange(13)), known), before)
    users = torch.arange(15)
    items = torch.arange(1, larger.num_items + 1).expand(15, -1)
    scores = pair_scores(current.network, current.requests_of(users), items)
    assert bool(torch.isfinite(scores).all())
    again = sl.Model.from_part(current.to_part(), larger)
    assert torch.equal(pair_scores(again.network, again.requests_of(users), items), scores)


def test_what_training_meets_at_last_is_unmet_no_more(dataset: Dataset) -> None:
    draw = np.random.default_rng(0)
    events = pl.DataFrame(
        {"user_id": draw.integers(0, 9, 90), "item_id": draw.integers(0, 6, 90), "timestamp": np.arange(90)}
    )
    items = pl.DataFrame({"item_id": np.arange(9), "kind": ["a", "b", "c"] * 3})
    first = sl.fit(KINDS["two towers"], sl.read_dataset(events, items=items), training=QUICK)
    ids = first.dataset.encoders.items.encode
    assert first.network.unmet[ids([6, 7, 8])].tolist() == [True] * 3
    later = pl.DataFrame({"user_id": [1, 2] * 9, "item_id": [7] * 18, "timestamp": 1_000 + np.arange(18)})
    again = sl.fit_partial(first, later, training=QUICK)
    assert again.network.unmet[ids([5, 6, 7, 8])].tolist() == [False, True, False, True]
