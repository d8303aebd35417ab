"""What a user's mistake in the data looks like: each test reads the message."""

from __future__ import annotations

import polars as pl
import pytest

from shortlist.data import read_dataset
from shortlist.errors import DataError, SchemaError, SettingsError, ShortlistError

GOOD = pl.DataFrame({"user_id": [1, 1, 2], "item_id": [5, 6, 5], "timestamp": [10, 20, 30], "rating": [4, 5, 3]})


def changed(**columns):
    return GOOD.with_columns(**{name: pl.Series(values, strict=False) for name, values in columns.items()})


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (
            GOOD.drop("item_id"),
            r"events has no column that looks like an item_id\. Columns found: user_id, timestamp, rating",
        ),
        (changed(timestamp=[10, -20, 30]), r"events: timestamp is before 1970 in row 2: -20 \(1 such rows of 3\)"),
        (
            changed(timestamp=["2024-01-01", "2024-01-02", "yesterday"]),
            r"timestamp is not a time in row 3: 'yesterday'",
        ),
        (changed(timestamp=[10, None, 30]), r"timestamp is empty in row 2"),
        (
            changed(user_id=[1.0, float("nan"), 2.0]),
            r"events: 1 of 3 rows have no 'user_id'; the first is row 2\. Drop them first",
        ),
        (changed(item_id=[None, 6, None]), r"events: 2 of 3 rows have no 'item_id'; the first is row 1"),
        (changed(item_id=[5.5, 6, 5]), r"'item_id' holds fractions such as \[5\.5\]"),
        (
            changed(rating=[4, None, 3]),
            r"'rating' has None in row 2, which is not a number .* leave the column out: schema\.rating = None",
        ),
        (changed(rating=[4.0, float("inf"), 3.0]), r"'rating' has inf in row 2"),
        (changed(weight=[1, -1, 1]), r"'weight' is -1 in row 2\. Weights are 0 or more"),
        (changed(label=[0, 2, 1]), r"'label' holds 2\. Labels are 0 or 1; for other values set schema\.label = None"),
        (GOOD.head(0), r"events has no rows\. Give a file with at least one event"),
    ],
)
def test_events_that_make_no_sense_are_refused(frame, message):
    with pytest.raises(ShortlistError, match=message):
        read_dataset(frame)


@pytest.mark.parametrize(
    ("rule", "error", "message"),
    [
        ("rating + 1", DataError, r'schema\.positive = "rating \+ 1" must say true or false of each event'),
        ("rating > 9", DataError, r"none of 3 events is liked \(rating > 9\), so there is nothing to learn"),
        ("max(rating) > 3", DataError, r"must say true or false of each event"),
        ("rating LIKE 'x'", DataError, r"schema\.positive = \"rating LIKE 'x'\" cannot be computed"),
        ("ratng > 3", SchemaError, r"Did you mean 'rating'\?"),
    ],
)
def test_a_rule_for_liked_events_that_does_not_work_is_refused(rule, error, message):
    with pytest.raises(error, match=message):
        read_dataset(GOOD, schema={"positive": rule})


def test_ids_of_mixed_types_are_refused():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"user_id": pd.Series([1, "x"], dtype=object), "item_id": [1, 2]})
    with pytest.raises(DataError, match=r"column 'user_id' mixes int and str\. Cast it to one type first"):
        read_dataset(frame)


def test_one_user_only_is_read_and_noted():
    dataset = read_dataset(GOOD.filter(pl.col("user_id") == 1))
    assert dataset.num_users == 1
    assert "events: there is only one user, so nothing can be learnt from others' choices" in dataset.notes


def test_a_ratings_file_with_three_columns_is_read_and_noted(tmp_path):
    (tmp_path / "ratings.csv").write_text("1,5,4\n1,6,5\n2,5,3\n")
    dataset = read_dataset(tmp_path / "ratings.csv")
    assert dataset.schema.rating == "rating"
    assert dataset.events.times is None
    assert "ratings.csv: no header line; the columns are taken as user_id, item_id, rating" in dataset.notes


def test_a_header_without_rows_is_refused(tmp_path):
    (tmp_path / "events.csv").write_text("user_id,item_id\n")
    with pytest.raises(DataError, match=r"events\.csv has no rows"):
        read_dataset(tmp_path / "events.csv")


def test_a_missing_column_is_named_as_the_file_has_it(tmp_path):
    (tmp_path / "events.csv").write_text("user,item,time\n1,2,3\n")
    expected = r"events\.csv has no column 'timestamp'\. Columns found: user, item, time\. Rename it, or set schema\.timestamp = \"time\"\."
    with pytest.raises(SchemaError, match=expected):
        read_dataset(tmp_path / "events.csv", schema={"timestamp": "timestamp"})


def test_a_core_that_leaves_nothing_is_refused():
    with pytest.raises(
        DataError, match=r"None of 3 events is left by min_user_events and min_item_events \(users with at least 5"
    ):
        read_dataset(GOOD, min_user_events=5)


def test_limits_below_one_and_unknown_formats_are_refused():
    with pytest.raises(SettingsError, match=r"min_user_events and min_item_events are 1 or more; found 0 and 1"):
        read_dataset(GOOD, min_user_events=0)
    with pytest.raises(
        SettingsError, match=r"There is no format 'movielense'\. Did you mean 'movielens'\? Formats: movielens"
    ):
        read_dataset(GOOD, format="movielense")


def test_a_user_table_is_refused_where_rows_are_sessions():
    frame = GOOD.rename({"user_id": "session_id"})
    with pytest.raises(SchemaError, match=r"users describes users, and a row of the data set is a session"):
        read_dataset(frame, users=pl.DataFrame({"user_id": [1], "age": [3]}))


def test_an_item_without_an_id_is_refused():
    items = pl.DataFrame({"item_id": [5, None], "brand": ["x", "y"]})
    with pytest.raises(DataError, match=r"items: 1 of 2 rows have no 'item_id'; the first is row 2"):
        read_dataset(GOOD, items=items)


def test_an_infinite_number_in_a_feature_is_refused():
    items = pl.DataFrame({"item_id": [5, 6], "price": [1.0, float("inf")]})
    with pytest.raises(DataError, match=r"Feature 'price' is inf in row 2"):
        read_dataset(GOOD, items=items)
