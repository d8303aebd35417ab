"""New, changed and withdrawn items reach a recommender without training, and the one before stays as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import shortlist as sl
from shortlist.data import Dataset
from shortlist.errors import DataError, RequestError
from shortlist.recommender import Recommender

QUICK = sl.Training(epochs=3, batch_size=32, patience=None)
KINDS: dict[str, Any] = {
    "two-tower": sl.TwoTower(embedding_dim=8, hidden=(8,), history=5, negatives=8),
    "SASRec": sl.SASRec(embedding_dim=8, history=5, dropout=0.0),
    "GRU4Rec": sl.GRU4Rec(hidden=(8,), history=5, negatives=8),
    "MF": sl.MF(embedding_dim=8, negatives=8),
    "item-kNN": sl.ItemKNN(neighbours=5),
    "popularity": sl.Popularity(),
}
NEW = pl.DataFrame(
    {"item_id": [900, 901], "category": ["cup", "tea"], "tags": ["red", "red|blue"], "price": [4.0, 1.0]}
)


@pytest.fixture(scope="module", params=KINDS)
def recommender(request: pytest.FixtureRequest, dataset: Dataset) -> Recommender:
    model = sl.fit(KINDS[request.param], dataset, training=QUICK)
    return Recommender(model, ranker=sl.fit(sl.DeepFM(hidden=(8,)), dataset, training=QUICK), candidates=20)


def _shown(recommender: Recommender, **asked: Any) -> set[int]:
    return set(recommender.recommend(["u00"], k=30, exclude_seen=False, **asked)["item_id"])


def test_new_items_can_be_found_and_the_old_recommender_knows_nothing_of_them(recommender: Recommender) -> None:
    before = recommender.recommend(["u00", "u01"], k=5)
    after = recommender.refresh(NEW)
    assert _shown(after) == set(range(1, 21)) | {900, 901}
    assert _shown(after, items=[900, 3]) == {900, 3}
    assert _shown(recommender) == set(range(1, 21))
    assert recommender.recommend(["u00", "u01"], k=5).equals(before)
    assert "2 items added, 0 known ones changed" in after.dataset.notes[-1]


def test_withdrawn_items_are_gone_until_a_table_names_them(recommender: Recommender) -> None:
    after = recommender.refresh(NEW, remove=[3, 901])
    assert _shown(after) == set(range(1, 21)) - {3} | {900}
    assert _shown(after, items=[3, 901, 900]) == {900}
    anonymous = after.recommend(["nobody"], k=30)
    assert not {3, 901} & set(anonymous["item_id"])
    again = after.refresh(NEW[1:])
    assert _shown(again) == set(range(1, 21)) - {3} | {900, 901}


def test_a_refreshed_recommender_is_saved_and_loaded(recommender: Recommender, tmp_path: Path) -> None:
    after = recommender.refresh(NEW, remove=[3])
    after.save(tmp_path / "new.bundle")
    loaded = sl.load(tmp_path / "new.bundle")
    asked = {"users": ["u00", "u05"], "k": 30}
    assert loaded.recommend(**asked).equals(after.recommend(**asked))
    assert loaded.ages()["index"] == pytest.approx(after.ages()["index"], abs=5)
    assert loaded.made.trained == recommender.made.trained
    assert _shown(loaded.refresh(remove=[900])) == set(range(1, 21)) - {3} | {901}


def test_changed_features_move_an_item(dataset: Dataset) -> None:
    model = sl.fit(KINDS["two-tower"], dataset, training=QUICK)
    changed = pl.DataFrame({"item_id": [5], "category": ["cup"], "tags": ["blue"], "price": [500.0]})
    before = Recommender(model)
    after = before.refresh(changed)
    index = int(dataset.encoders.items.encode([5])[0])
    vectors = [part.funnel.sources[0].index.alive() for part in (before, after)]
    moved = [row for row, item in enumerate(vectors[0][0].tolist()) if item == index]
    stayed = [row for row, item in enumerate(vectors[0][0].tolist()) if item != index]
    old, new = (alive[1][alive[0].argsort()] for alive in vectors)
    assert not torch.allclose(old[moved], new[moved])
    assert torch.equal(old[stayed], new[stayed])
    assert _shown(after, where="price > 400") == {5}
    assert _shown(before, where="price > 400") == set()


def test_an_item_like_the_others_of_its_kind_stands_with_them() -> None:
    """Users who take one category alone get a new item of it before the others."""
    draw = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"{'ab'[user % 2]}{item}", step)
        for user in range(40)
        for step, item in enumerate(draw.integers(0, 8, 12))
    ]
    events = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    items = pl.DataFrame(
        {"item_id": [f"{kind}{place}" for kind in "ab" for place in range(8)], "kind": ["a"] * 8 + ["b"] * 8}
    )
    dataset = sl.read_dataset(events, items=items)
    new = pl.DataFrame({"item_id": ["newa", "newb"], "kind": ["a", "b"]})
    for settings in (KINDS["two-tower"], KINDS["SASRec"], KINDS["MF"], KINDS["GRU4Rec"]):
        model = sl.fit(
            settings, dataset, training=sl.Training(epochs=40, batch_size=32, patience=None, learning_rate=0.01)
        )
        found = Recommender(model).refresh(new).recommend(["u0", "u1"], k=20, items=["newa", "newb"])
        assert found.filter(rank=1)["item_id"].to_list() == ["newa", "newb"], settings


@pytest.mark.parametrize(
    ("items", "remove", "error", "message"),
    [
        (None, [], RequestError, "nothing to refresh"),
        (None, [77], RequestError, "no item 77"),
        (NEW.drop("price"), [], DataError, "lacks columns that the items had: price"),
        (NEW.with_columns(item_id=pl.lit("x")), [], DataError, "is text, and the ids known so far are whole numbers"),
        (NEW.clear(), [], DataError, "has no rows"),
    ],
)
def test_what_makes_no_sense_is_refused(
    dataset: Dataset, items: Any, remove: list[int], error: type[Exception], message: str
) -> None:
    recommender = Recommender(sl.fit(KINDS["popularity"], dataset))
    with pytest.raises(error, match=message):
        recommender.refresh(items, remove=remove)
