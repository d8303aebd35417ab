from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from shortlist.data import hold_back, hold_last, read_dataset, split_by_time, split_last_out, split_random
from shortlist.errors import DataError, SettingsError
from shortlist.schema import Feature


def log(*, num_users=40, num_events=600, seed=0, distinct_times=200):
    """Events with many equal times; a context column that repeats the time, and a rating."""
    random = np.random.default_rng(seed)
    times = random.integers(1, distinct_times, num_events)
    return pl.DataFrame(
        {
            "user_id": random.integers(0, num_users, num_events),
            "item_id": random.integers(0, 50, num_events),
            "timestamp": times,
            "rating": random.integers(1, 6, num_events),
            "moment": times,
        }
    ).unique(["user_id", "item_id", "timestamp"], maintain_order=True)


CONTEXT = {"features": [Feature("moment", "categorical", "context")]}


def read(frame, **schema):
    return read_dataset(frame, schema={**CONTEXT, **schema})


def rows(part):
    """For each row its (item, time, rating, context) events, as known ones and own ones."""
    events = part.events
    told = list(
        zip(
            events.items.tolist(),
            [None] * len(events) if events.times is None else events.times.tolist(),
            events.ratings.tolist(),
            part.context.categorical.squeeze(1).tolist(),
            strict=True,
        )
    )
    spans = zip(events.offsets.tolist(), part.target_start.tolist(), events.offsets.tolist()[1:], strict=False)
    return [(told[begin:start], told[start:end]) for begin, start, end in spans]


def test_parts_by_time_are_consecutive_and_hold_every_event_once():
    dataset = read(log())
    train, valid, test = split_by_time(dataset, valid=0.15, test=0.2)
    newest, oldest = train.targets().times.max(), test.targets().times.min()
    assert newest < valid.targets().times.min()
    assert valid.targets().times.max() < oldest
    for (_, whole), (none, first), (known, second), (before, third) in zip(
        rows(dataset), rows(train), rows(valid), rows(test), strict=True
    ):
        assert none == []
        assert known == first
        assert before == first + second
        assert before + third == whole
    shares = [len(part.targets()) / len(dataset.events) for part in (train, valid, test)]
    assert shares == pytest.approx([0.65, 0.15, 0.2], abs=0.02)
    assert train.events.strict
    assert valid.events.strict
    assert test.events.strict


def test_no_part_holds_an_event_later_than_its_own():
    for part in split_by_time(read(log()), valid=0.2, test=0.2)[:2]:
        assert part.events.times.max() == part.targets().times.max()


def test_events_of_one_time_are_never_divided():
    frame = pl.DataFrame({"user_id": [1, 2, 3, 4, 5, 6], "item_id": [1] * 6, "timestamp": [1, 2, 2, 2, 2, 3]})
    train, _, test = split_by_time(read_dataset(frame), valid=0, test=0.4)
    assert sorted(train.targets().times.tolist()) == [1, 2, 2, 2, 2]
    assert test.targets().times.tolist() == [3]


def test_a_share_of_nothing_gives_a_part_without_own_events():
    dataset = read(log())
    train, valid, test = split_by_time(dataset, valid=0, test=0.2)
    assert len(valid.targets()) == 0
    assert len(train.targets()) + len(test.targets()) == len(dataset.events)
    assert len(valid.events) == len(train.events)


def test_a_split_by_time_needs_times_that_differ():
    with pytest.raises(
        DataError, match=r"split_by_time needs timestamps, and the events have none\. Set schema\.timestamp"
    ):
        split_by_time(read(log(), timestamp=None))
    frame = pl.DataFrame({"user_id": [1, 2], "item_id": [1, 2], "timestamp": [5, 5]})
    with pytest.raises(
        DataError, match=r"needs events of different times, and all 2 events to divide have one\. Use split_last_out"
    ):
        split_by_time(read_dataset(frame))


@pytest.mark.parametrize("shares", [(0.5, 0.5), (-0.1, 0.1), (0.1, 0), (0.1, 1.2)])
def test_shares_that_leave_nothing_are_refused(shares):
    with pytest.raises(
        SettingsError, match=r"valid and test are shares of the events that leave some for train; found valid="
    ):
        split_by_time(read(log()), valid=shares[0], test=shares[1])
    with pytest.raises(SettingsError, match="shares of the events"):
        split_random(read(log()), valid=shares[0], test=shares[1], seed=0)


def test_what_train_cannot_know_is_counted():
    frame = pl.DataFrame({"user_id": [1, 1, 2, 1, 3], "item_id": [1, 2, 1, 3, 1], "timestamp": [1, 2, 3, 4, 5]})
    _, _, test = split_by_time(read_dataset(frame), valid=0, test=0.4)
    assert test.notes[-1] == "test: 1 of 2 users have no event in train, and 1 of 2 events are of items that have none"


def test_last_out_takes_the_last_two_liked_events_of_each_row():
    dataset = read(log(), positive="rating >= 3")
    train, valid, test = split_last_out(dataset)
    for (_, whole), (none, first), (known, second), (before, third) in zip(
        rows(dataset), rows(train), rows(valid), rows(test), strict=True
    ):
        liked = [place for place, event in enumerate(whole) if event[2] >= 3]
        assert none == []
        if len(liked) < 3:
            assert (first, second, third) == (whole, [], [])
            assert known == before == whole
        else:
            assert first == whole[: liked[-2]]
            assert (known, second) == (first, [whole[liked[-2]]])
            assert (before, third) == (whole[: liked[-1]], [whole[liked[-1]]])


def test_events_after_the_last_liked_one_are_counted():
    frame = pl.DataFrame({"user_id": [1] * 5, "item_id": [1, 2, 3, 4, 5], "rating": [5, 5, 5, 1, 1]})
    train, _, test = split_last_out(read_dataset(frame, schema={"positive": "rating > 3"}))
    assert len(train.events) == 1
    assert len(test.events) == 3
    assert "last-out: 2 events after their row's last liked one are in no part" in test.notes


def test_last_out_follows_the_files_order_where_times_are_equal():
    frame = pl.DataFrame({"user_id": [1, 1, 1], "item_id": [7, 9, 8], "timestamp": [5, 5, 5]})
    dataset = read_dataset(frame)
    _, valid, test = split_last_out(dataset)
    assert dataset.encoders.items.decode(valid.targets().items.numpy()).tolist() == [9]
    assert dataset.encoders.items.decode(test.targets().items.numpy()).tolist() == [8]


def test_a_random_split_gives_each_event_to_one_part_and_all_know_train():
    dataset = read(log())
    train, valid, test = split_random(dataset, valid=0.1, test=0.2, seed=3)
    size = len(dataset.events)
    assert [len(part.targets()) for part in (train, valid, test)] == [
        size - round(0.1 * size) - round(0.2 * size),
        round(0.1 * size),
        round(0.2 * size),
    ]
    for (_, whole), (none, first), (known, second), (before, third) in zip(
        rows(dataset), rows(train), rows(valid), rows(test), strict=True
    ):
        assert none == []
        assert known == before == first
        assert sorted(first + second + third) == sorted(whole)


def test_a_random_split_repeats_with_its_seed():
    dataset = read(log())
    first, again, other = (split_random(dataset, valid=0.1, test=0.1, seed=seed)[2] for seed in (1, 1, 2))
    assert torch.equal(first.events.items, again.events.items)
    assert torch.equal(first.target_start, again.target_start)
    assert not torch.equal(first.target_start, other.target_start)


def test_holding_back_by_time_keeps_later_events_from_the_earlier_part():
    train, _, _ = split_by_time(read(log()), valid=0.1, test=0.1)
    earlier, later = hold_back(train, fraction=0.25)
    assert earlier.events.times.max() < later.targets().times.min()
    assert later.events.strict
    assert len(later.targets()) == pytest.approx(0.25 * len(train.events), abs=0.02 * len(train.events))
    for (_, whole), (none, first), (known, second) in zip(rows(train), rows(earlier), rows(later), strict=True):
        assert none == []
        assert known == first
        assert first + second == whole


def test_holding_back_without_times_takes_each_rows_last_events_rounded_up():
    frame = pl.DataFrame(
        {"user_id": [1] * 11 + [2] * 2 + [3], "item_id": list(range(11)) + [0, 1] + [0], "rating": 1, "moment": 1}
    )
    earlier, later = hold_back(read(frame), fraction=0.1)
    assert earlier.events.lengths.tolist() == [0, 9, 1, 1]
    assert later.targets().lengths.tolist() == [0, 2, 1, 0]
    assert torch.equal(later.known().items, earlier.events.items)


def test_holding_back_twice_keeps_what_was_known():
    _, later = hold_back(read(log(), timestamp=None), fraction=0.5)
    first, second = hold_back(later, fraction=0.5)
    assert torch.equal(first.known().items, later.known().items)
    assert len(first.targets()) + len(second.targets()) == len(later.targets())
    with pytest.raises(SettingsError, match="fraction is a share between 0 and 1; found 1"):
        hold_back(later, fraction=1)


def test_the_last_liked_event_of_each_row_is_held_for_validation():
    dataset = read(log(num_users=30), positive="rating >= 2")
    part, held = hold_last(dataset)
    for (_, whole), (none, learnt), (known, own) in zip(rows(dataset), rows(part), rows(held), strict=True):
        liked = [place for place, event in enumerate(whole) if event[2] >= 2]
        assert none == []
        if len(liked) < 2:
            assert (learnt, own) == (whole, [])
        else:
            assert (learnt, known, own) == (whole[: liked[-1]], whole[: liked[-1]], [whole[liked[-1]]])


def test_short_rows_give_only_a_tenth_of_the_events_for_validation():
    frame = pl.DataFrame({"user_id": [user for user in range(100) for _ in range(2)], "item_id": [0, 1] * 100})
    part, held = hold_last(read_dataset(frame))
    assert len(held.targets()) == 20
    assert len(part.events) == 180


def test_of_sessions_the_latest_tenth_is_held_whole():
    frame = pl.DataFrame(
        {
            "session_id": [session for session in range(30) for _ in range(3)],
            "item_id": [0, 1, 2] * 30,
            "timestamp": range(90, 0, -1),
        }
    )
    frame = frame.sort("timestamp")
    part, held = hold_last(read_dataset(frame))
    assert (held.targets().lengths > 0).nonzero().squeeze(1).tolist() == [1, 2, 3]  # sessions 0, 1, 2 are the latest
    assert (part.events.lengths == 0).nonzero().squeeze(1).tolist() == [0, 1, 2, 3]
    assert held.targets().items.tolist() == [1, 1, 1]
    assert held.events.lengths[1:4].tolist() == [3, 3, 3]


def test_where_no_row_can_give_one_nothing_is_held():
    dataset = read_dataset(pl.DataFrame({"user_id": [1, 2], "item_id": [1, 2]}))
    assert hold_last(dataset) == (dataset, None)


def test_parts_share_vocabularies_and_features():
    dataset = read(log())
    for part in (
        *split_by_time(dataset),
        *split_last_out(dataset),
        *split_random(dataset, seed=0),
        *hold_back(dataset),
    ):
        assert part.encoders is dataset.encoders
        assert part.events.num_items == dataset.num_items
        assert part.events.num_rows == dataset.num_users + 1
        assert len(part.context) == len(part.events)


def test_real_times_are_split_without_overlap(data_dir):
    train, valid, test = split_by_time(read_dataset(data_dir / "movielens-100k" / "u.data"))
    assert train.targets().times.max() < valid.targets().times.min()
    assert valid.targets().times.max() < test.targets().times.min()
    assert [len(part.targets()) for part in (train, valid, test)] == pytest.approx([80_000, 10_000, 10_000], abs=100)
    assert test.notes[-1].startswith("test: ")
