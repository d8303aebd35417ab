"""What is known keeps its index; tables add ids, features and titles, later events their users and items."""

from __future__ import annotations

import polars as pl
import pytest
import torch

from shortlist import NeuMF, fit
from shortlist.data import Dataset, read_dataset, split_by_time
from shortlist.data.grow import as_grown, with_events, with_items, with_users
from shortlist.errors import DataError, SchemaError, TrainingError

EVENTS = pl.DataFrame(
    {"user_id": ["a", "b", "a"], "item_id": ["x", "y", "y"], "timestamp": [1_000_000, 1_000_060, 1_000_120]}
)
ITEMS = pl.DataFrame({"item_id": ["x", "y"], "name": ["Ex", "Why"], "kind": ["tea", "cup"], "price": [1.0, 3.0]})
USERS = pl.DataFrame({"user_id": ["a", "b"], "country": ["FR", "DE"]})
MORE = pl.DataFrame(
    {
        "kind": ["cup", "new kind", "tea"],
        "name": ["Zed", "Way", "again"],
        "item_id": ["z", "y", "z"],
        "price": [2.0, 9.0, 5.0],
    }
)


@pytest.fixture
def small() -> Dataset:
    return read_dataset(EVENTS, items=ITEMS, users=USERS, schema={"title": "name"})


def test_a_table_of_items_adds_new_ones_and_changes_known_ones(small: Dataset) -> None:
    larger, touched = with_items(small, MORE)
    assert larger.encoders.items.ids.tolist() == ["x", "y", "z"]
    assert touched.tolist() == [2, 3]  # of two rows with one id the last counts
    assert list(larger.encoders.titles) == ["Ex", "Way", "again"]
    assert larger.item_table.frame.rows() == [
        ("x", "Ex", "tea", 1.0),
        ("y", "Way", "new kind", 9.0),
        ("z", "again", "tea", 5.0),
    ]
    features, before = larger.item_features.whole(), small.item_features
    assert features.categorical[1, 0] == features.categorical[3, 0] == before.categorical[1, 0]
    assert features.categorical[2, 0] == 0  # a kind that training never met
    torch.testing.assert_close(features.numeric[:2], before.numeric[:2])
    assert larger.notes[-1].endswith("1 items added, 1 known ones changed")
    assert larger.events.num_items == 3
    assert small.num_items == 2


def test_later_events_bring_their_users_and_items(small: Dataset) -> None:
    later = pl.DataFrame(
        {"user_id": ["c", "a", "b"], "item_id": ["z", "w", "x"], "timestamp": [1_000_200, 1_000_210, 1_000_000]}
    )
    larger = with_events(small, later, items=MORE[:1], users=pl.DataFrame({"user_id": ["d"], "country": ["DE"]}))
    assert larger.encoders.users.ids.tolist() == ["a", "b", "d", "c"]
    assert larger.encoders.items.ids.tolist() == ["x", "y", "z", "w"]
    assert list(larger.encoders.titles) == ["Ex", "Why", "Zed", ""]
    own = larger.targets()
    assert [larger.encoders.items.decode([item])[0] for item in own.items.tolist()] == ["w", "z"]
    assert own.lengths.tolist() == [0, 1, 0, 0, 1]
    assert any("1 of 3 events are not later" in note for note in larger.notes)
    assert larger.user_features.categorical[:, 0].tolist() == [
        0,
        *small.user_features.categorical[1:, 0].tolist(),
        1,
        0,
    ]
    assert larger.item_table.frame["kind"].to_list() == ["tea", "cup", "cup", None]


def test_ratings_that_later_events_do_not_have_are_left_out_of_all() -> None:
    rated = read_dataset(EVENTS.with_columns(rating=pl.Series([5, 3, 4]), weight=pl.Series([1.0, 2.0, 1.0])))
    assert rated.schema.rating == "rating"
    later = pl.DataFrame({"user_id": ["a"], "item_id": ["x"], "timestamp": [1_000_200], "weight": [3.0]})
    larger = with_events(rated, later)
    assert larger.schema.rating is None
    assert larger.events.ratings is None
    assert larger.events.weights.tolist() == [1.0, 1.0, 3.0, 2.0]
    assert larger.notes[-1].endswith("has no 'rating', so it is left out of all events")
    with pytest.raises(TrainingError, match="rating"):
        fit(NeuMF(loss="mse"), larger, validation=larger)
    ruled = read_dataset(EVENTS.with_columns(rating=pl.Series([5, 3, 4])), schema={"positive": "rating >= 4"})
    with pytest.raises(SchemaError, match="rating >= 4"):
        with_events(ruled, later)


def test_later_events_without_their_columns_are_refused(small: Dataset) -> None:
    with pytest.raises(SchemaError, match="has no column 'timestamp'"):
        with_events(small, pl.DataFrame({"user_id": ["a"], "item_id": ["x"]}))


def test_a_part_grows_with_its_whole(small: Dataset) -> None:
    train, _, test = split_by_time(small, valid=0, test=0.34)
    larger = with_users(with_items(small, MORE)[0], pl.DataFrame({"user_id": ["d"], "country": ["DE"]}))
    for part in (train, test):
        grown = as_grown(part, larger)
        assert (grown.num_users, grown.num_items, grown.events.num_items) == (3, 3, 3)
        assert torch.equal(grown.targets().items, part.targets().items)
        assert grown.events.num_rows == 4


@pytest.mark.parametrize(
    ("items", "message"),
    [(MORE.drop("name"), "lacks columns that the items had: name"), (MORE.drop("item_id"), "has no column 'item_id'")],
)
def test_tables_that_lack_something_are_refused(small: Dataset, items: pl.DataFrame, message: str) -> None:
    with pytest.raises((DataError, SchemaError), match=message):
        with_items(small, items)
