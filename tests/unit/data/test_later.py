from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from shortlist.data import read_dataset, read_later
from shortlist.errors import DataError, SchemaError
from shortlist.schema import Feature


def test_later_events_extend_what_was_known():
    random = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "user_id": random.integers(0, 20, 300),
            "item_id": random.integers(0, 40, 300),
            "timestamp": random.integers(1, 100, 300),
            "device": random.choice(["tv", "pc"], 300),
            "tags": random.choice(["a|b", "b"], 300),
        }
    )
    features = [Feature("device", "categorical", "context"), Feature("tags", "multi", "context", separator="|")]
    late = frame.filter(pl.col("timestamp") >= 60)
    dataset = read_dataset(frame.filter(pl.col("timestamp") < 60), schema={"features": features})
    part = read_later(late, dataset)
    assert part.encoders is dataset.encoders
    assert part.events.strict
    assert torch.equal(part.known().items, dataset.events.items)
    assert torch.equal(part.before().context.multi[0].values, dataset.context.multi[0].values)
    known_items = late.filter(pl.col("item_id").is_in(dataset.encoders.items.ids.tolist()))
    own = part.targets()
    assert len(own) == len(known_items.unique())
    context = part.context.take(part.own().nonzero().squeeze(1))
    for row, user in enumerate(dataset.encoders.users.ids.tolist(), start=1):
        span = slice(int(own.offsets[row]), int(own.offsets[row + 1]))
        mine = (
            known_items.unique(maintain_order=True)
            .filter(pl.col("user_id") == user)
            .sort("timestamp", maintain_order=True)
        )
        assert own.times[span].tolist() == mine["timestamp"].to_list()
        assert dataset.encoders.items.decode(own.items[span].numpy()).tolist() == mine["item_id"].to_list()
        assert [("?", "pc", "tv")[value] for value in context.categorical[span, 0].tolist()] == mine["device"].to_list()


def test_later_events_that_say_nothing_new_are_counted_and_left_out():
    dataset = read_dataset(pl.DataFrame({"user_id": ["a", "b"], "item_id": [1, 2], "timestamp": [10, 20]}))
    later = pl.DataFrame(
        {"user_id": ["a", "a", "z", "b", "b"], "item_id": [2, 9, 1, 1, 1], "timestamp": [30, 31, 32, 20, 33]}
    )
    part = read_later(later, dataset)
    assert part.targets().lengths.tolist() == [0, 1, 1]
    assert part.notes[-3:] == (
        "events: 1 of 5 events are of users unknown before; they are left out",
        "events: 1 of 5 events are of items unknown before; they are left out",
        "events: 1 of 5 events are not later than the known ones; they are left out",
    )
    with pytest.raises(
        DataError, match=r"events has no event to evaluate on\. .*1 of 1 events are of users unknown before"
    ):
        read_later(later[2:3], dataset)
    with pytest.raises(SchemaError, match=r"events has no column 'item_id'"):
        read_later(later.drop("item_id"), dataset)


def test_later_events_without_times_come_after_the_known_ones():
    dataset = read_dataset(pl.DataFrame({"user_id": ["a", "b", "a"], "item_id": [1, 2, 2]}))
    part = read_later(pl.DataFrame({"user_id": ["b", "a"], "item_id": ["1", "1"]}), dataset)
    assert part.events.items.tolist() == [1, 2, 1, 2, 1]
    assert part.target_start.tolist() == [0, 2, 4]


def test_repeats_among_later_events_are_dropped_and_counted():
    dataset = read_dataset(pl.DataFrame({"user_id": ["a", "b"], "item_id": [1, 2], "timestamp": [10, 20]}))
    part = read_later(pl.DataFrame({"user_id": ["a", "a"], "item_id": [2, 2], "timestamp": [30, 30]}), dataset)
    assert len(part.targets()) == 1
    assert "events: 1 rows repeat an earlier one and were dropped" in part.notes
