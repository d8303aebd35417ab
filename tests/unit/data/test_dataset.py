from __future__ import annotations

import polars as pl
import pytest
import torch

from shortlist.data import read_dataset, split_by_time
from shortlist.data.categories import Known
from shortlist.schema import Feature, Schema
from shortlist.vocabulary import Vocabulary

EVENTS = pl.DataFrame(
    {
        "user_id": ["b", "a", "b", "a", "b"],
        "item_id": [30, 10, 20, 30, 10],
        "timestamp": [500, 100, 300, 100, 300],
        "rating": [5, 1, 4, 3, 2],
        "device": ["tv", "pc", "tv", "tv", "pc"],
    }
)


def sequences(dataset):
    """Each user's items, by their outside ids."""
    events, items, users = dataset.events, dataset.encoders.items, dataset.encoders.users
    spans = [slice(*span) for span in zip(events.offsets[1:-1].tolist(), events.offsets[2:].tolist(), strict=True)]
    return {
        user: items.decode(events.items[span].numpy()).tolist()
        for user, span in zip(users.ids.tolist(), spans, strict=True)
    }


def test_events_are_grouped_by_user_in_time_order_and_equal_times_keep_the_files_order():
    dataset = read_dataset(EVENTS)
    assert sequences(dataset) == {"a": [10, 30], "b": [20, 10, 30]}
    assert dataset.events.times.tolist() == [100, 100, 300, 300, 500]
    assert dataset.events.ratings.tolist() == [1, 3, 4, 2, 5]
    assert dataset.events.offsets.tolist() == [0, 0, 2, 5]
    assert dataset.target_start.tolist() == [0, 0, 2]


def test_arrays_have_the_types_that_models_expect():
    events = read_dataset(EVENTS, schema={"positive": "rating >= 3"}).events
    assert (events.items.dtype, events.times.dtype, events.ratings.dtype) == (torch.int32, torch.int64, torch.float32)
    assert (events.offsets.dtype, events.liked.dtype) == (torch.int64, torch.bool)


@pytest.mark.parametrize("make", [lambda frame: frame, lambda frame: frame.lazy(), lambda frame: frame.to_arrow()])
def test_every_kind_of_frame_gives_the_same_data_set(make):
    first, second = read_dataset(EVENTS), read_dataset(make(EVENTS))
    assert first.encoders == second.encoders
    assert torch.equal(first.events.items, second.events.items)


def test_a_pandas_frame_gives_the_same_data_set():
    pd = pytest.importorskip("pandas")
    dataset = read_dataset(pd.DataFrame(EVENTS.to_dict(as_series=False)))
    assert sequences(dataset) == sequences(read_dataset(EVENTS))


def test_ids_are_sorted_as_numbers_or_as_text():
    dataset = read_dataset(pl.DataFrame({"user_id": ["b", "B", "a"], "item_id": [10, 9, 100]}))
    assert dataset.encoders.users.ids.tolist() == ["B", "a", "b"]
    assert dataset.encoders.items.ids.tolist() == [9, 10, 100]


def test_without_timestamps_the_files_order_is_kept():
    dataset = read_dataset(EVENTS.drop("timestamp"))
    assert sequences(dataset) == {"a": [10, 30], "b": [30, 20, 10]}
    assert dataset.events.times is None


def test_times_finer_than_a_second_decide_the_order():
    frame = pl.DataFrame({"user_id": [1, 1], "item_id": [1, 2], "timestamp": [1_700_000_000_900, 1_700_000_000_100]})
    dataset = read_dataset(frame)
    assert sequences(dataset) == {1: [2, 1]}
    assert dataset.events.times.tolist() == [1_700_000_000, 1_700_000_000]


def test_a_rule_says_which_events_are_liked():
    dataset = read_dataset(EVENTS, schema={"positive": "rating >= 3 AND device = 'tv'"})
    assert dataset.events.liked.tolist() == [False, True, True, False, True]
    assert sequences(dataset.positives()) == {"a": [30], "b": [20, 30]}
    assert "events: 3 of 5 events are liked (rating >= 3 AND device = 'tv')" in dataset.notes


def test_labels_of_one_are_liked():
    dataset = read_dataset(EVENTS.with_columns(label=pl.Series([1, 0, 1, 1, 0])))
    assert dataset.events.liked.tolist() == [False, True, True, False, True]


def test_weights_are_read():
    dataset = read_dataset(EVENTS.with_columns(weight=pl.Series([0.5, 1, 2, 3, 4])))
    assert dataset.events.weights.tolist() == [1, 3, 2, 4, 0.5]


def test_context_follows_its_events():
    feature = Feature("device", "categorical", "context")
    dataset = read_dataset(EVENTS, schema={"features": [feature]})
    assert dataset.encoders.context.categories == (Known(Vocabulary(["pc", "tv"])),)
    assert dataset.context.categorical.squeeze(1).tolist() == [1, 2, 2, 1, 2]
    train, _, test = split_by_time(dataset, valid=0, test=0.2)
    assert train.context.categorical.squeeze(1).tolist() == [1, 2, 2, 1]
    assert len(test.context) == len(test.events)


def test_features_have_a_row_for_each_index_and_an_unknown_one_first():
    items = pl.DataFrame(
        {"item_id": [30, 10, 40], "brand": ["x", "y", "y"], "price": [1.0, 3.0, None], "title": ["C", "A", None]}
    )
    dataset = read_dataset(EVENTS, items=items)
    assert dataset.encoders.items.ids.tolist() == [10, 20, 30, 40]
    assert dataset.item_features.categorical.squeeze(1).tolist() == [
        0,
        2,
        0,
        1,
        2,
    ]  # unknown, 10, 20 (has no row), 30, 40
    assert dataset.item_features.numeric.tolist() == [[0, 1], [1, 0], [0, 1], [-1, 0], [0, 1]]
    assert list(dataset.encoders.titles) == ["A", "", "C", ""]
    assert dataset.num_items == 4


def test_ids_that_only_one_side_has_are_counted():
    items = pl.DataFrame({"item_id": [30, 10, 40], "brand": ["x", "y", "y"]})
    users = pl.DataFrame({"user": ["a", "c", "d"], "age": [1, 2, 1]})
    dataset = read_dataset(EVENTS, items=items, users=users)
    assert "items: 1 of 3 items have no event; they are kept" in dataset.notes
    assert "events: 1 of 3 items are not in items; their features are unknown" in dataset.notes
    assert "users: using 'user' as user_id" in dataset.notes
    assert "users: 2 of 3 users have no event; they are kept" in dataset.notes
    assert dataset.encoders.users.ids.tolist() == ["a", "b", "c", "d"]
    assert dataset.events.lengths.tolist() == [0, 2, 3, 0, 0]


def test_ids_written_as_text_in_one_file_and_as_numbers_in_the_other_are_the_same():
    items = pl.DataFrame({"item_id": ["30", "10", "20"], "brand": ["x", "y", "y"]})
    dataset = read_dataset(EVENTS, items=items)
    assert dataset.encoders.items.ids.tolist() == [10, 20, 30]
    assert dataset.item_features.categorical.squeeze(1).tolist() == [0, 2, 2, 1]
    assert any("both are read as numbers" in note for note in dataset.notes)


def test_repeated_rows_are_dropped_and_counted():
    doubled = pl.concat([EVENTS, EVENTS[:2]])
    dataset = read_dataset(doubled)
    assert sequences(dataset) == sequences(read_dataset(EVENTS))
    assert "events: 2 rows repeat an earlier one and were dropped" in dataset.notes


def test_a_second_event_at_another_time_is_no_repeat():
    again = EVENTS[:1].with_columns(timestamp=pl.lit(900, dtype=pl.Int64))
    assert len(read_dataset(pl.concat([EVENTS, again])).events) == 6


def test_repeats_without_times_and_ratings_stay_and_are_counted():
    clicks = pl.DataFrame({"session_id": [1, 1, 1], "item_id": [7, 8, 7]})
    dataset = read_dataset(clicks)
    assert sequences(dataset) == {1: [7, 8, 7]}
    assert any("1 rows repeat an earlier one; they are kept" in note for note in dataset.notes)


def test_rows_of_an_item_table_with_the_same_id_are_dropped_but_the_first():
    items = pl.DataFrame({"item_id": [10, 10, 20, 30], "brand": ["x", "y", "y", "x"]})
    dataset = read_dataset(EVENTS, items=items)
    assert dataset.item_features.categorical.squeeze(1).tolist() == [0, 1, 2, 1]
    assert "items: 1 rows repeat the id of an earlier one and were dropped" in dataset.notes


def test_the_core_keeps_only_who_and_what_has_enough_events():
    # item 3 is rare; without it user "c" has too few events; without c's event item 2 still has enough
    frame = pl.DataFrame({"user_id": list("aabbcc"), "item_id": [1, 2, 1, 2, 2, 3]})
    items = pl.DataFrame({"item_id": [1, 2, 3, 4], "brand": list("xyxy")})
    dataset = read_dataset(frame, items=items, min_user_events=2, min_item_events=2)
    assert sequences(dataset) == {"a": [1, 2], "b": [1, 2]}
    assert dataset.encoders.items.ids.tolist() == [1, 2]
    assert len(dataset.item_features) == 3
    assert any(
        "kept 4 of 6 events: users with at least 2 events and items with at least 2" in note for note in dataset.notes
    )


def test_a_limit_for_users_alone_keeps_the_items_of_the_table():
    items = pl.DataFrame({"item_id": [10, 20, 30, 40], "brand": list("xyxy")})
    dataset = read_dataset(EVENTS, items=items, min_user_events=3)
    assert dataset.encoders.users.ids.tolist() == ["b"]
    assert dataset.encoders.items.ids.tolist() == [10, 20, 30, 40]


def test_sessions_are_rows():
    frame = EVENTS.with_columns(session_id=pl.Series([9, 7, 9, 8, 9]))
    dataset = read_dataset(frame, schema=Schema(timestamp="timestamp", session_id="session_id", sequence="session"))
    assert sequences(dataset) == {7: [10], 8: [30], 9: [20, 10, 30]}


def test_the_catalogue_states_sizes_and_features():
    items = pl.DataFrame({"item_id": [10, 20, 30], "brand": ["x", "y", "y"]})
    catalogue = read_dataset(EVENTS, items=items).catalogue()
    assert (catalogue.num_users, catalogue.num_items, catalogue.events) == (2, 3, 5)
    assert catalogue.item_features.layout.categorical == (3,)
    assert catalogue.user_features is None


def test_known_and_own_events_are_told_apart():
    dataset = read_dataset(EVENTS)
    _, _, test = split_by_time(dataset, valid=0, test=0.2)
    assert test.targets().items.tolist() == [3]
    assert test.known().items.tolist() == [1, 3, 2, 1]
    assert sequences(test.before()) == {"a": [10, 30], "b": [20, 10]}
    assert test.before().target_start.tolist() == test.before().events.offsets[:-1].tolist()


def test_the_description_is_short_and_says_the_sizes_dates_and_notes():
    text = read_dataset(EVENTS.rename({"user_id": "uid"})).describe()
    assert text.splitlines()[0] == "events   5 by 2 of 2 users on 3 of 3 items, 1970-01-01 to 1970-01-01"
    assert "user_id = uid, item_id = item_id, timestamp = timestamp, rating = rating" in text
    assert "note     events: using 'uid' as user_id" in text
    assert read_dataset(EVENTS.drop("timestamp")).describe().splitlines()[0].endswith("no timestamps")
