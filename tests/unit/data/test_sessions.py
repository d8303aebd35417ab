"""Sessions without users: read from lines, split whole, asked before each of their events."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from shortlist.data import Dataset, read_dataset, split_sessions
from shortlist.data.batches import evaluation_batches
from shortlist.errors import DataError, SettingsError


def _sessions(lines: list[str], tmp_path: Path) -> Dataset:
    path = tmp_path / "sessions.txt"
    path.write_text("\n".join(lines) + "\n")
    return read_dataset(path, format="sessions", schema={"sequence": "session"})


def test_lines_of_items_are_sessions_in_the_files_order(tmp_path: Path) -> None:
    dataset = _sessions(["7 5 7", "", "9\t5"], tmp_path)
    assert dataset.encoders.items.ids.tolist() == [5, 7, 9]
    assert dataset.encoders.users.ids.tolist() == [1, 3]
    assert dataset.encoders.items.decode(dataset.events.items.numpy()).tolist() == [7, 5, 7, 9, 5]
    assert any("1 lines without an item" in note for note in dataset.notes)


def test_lines_of_a_user_and_items(tmp_path: Path) -> None:
    path = tmp_path / "users.txt"
    path.write_text("u1 a b\nu2 b\n")
    dataset = read_dataset(path, format="user_items")
    assert dataset.encoders.users.ids.tolist() == ["u1", "u2"]
    assert dataset.events.offsets.tolist() == [0, 0, 2, 3]
    with pytest.raises(DataError, match="reads a text file with a sequence in each line"):
        read_dataset(pl.DataFrame({"user_id": [1]}), format="user_items")
    path.write_bytes(b"u1 \xff\xfe")
    with pytest.raises(DataError, match="cannot be read as UTF-8"):
        read_dataset(path, format="user_items")


def test_the_last_sessions_are_held_whole(tmp_path: Path) -> None:
    dataset = _sessions(["1 2 3", "2 3", "3 1", "1 2 4 3", "4 1"], tmp_path)
    train, valid, test = split_sessions(dataset, valid=1, test=0.2)
    assert train.events.lengths.tolist() == [0, 3, 2, 2, 0, 0]
    assert valid.events.lengths.tolist() == [0, 0, 0, 0, 4, 0]
    assert test.targets().lengths.tolist() == [0, 0, 0, 0, 0, 1]
    assert valid.targets().items.tolist() == [2, 4, 3]  # all but the session's first
    with pytest.raises(SettingsError, match="leave none for train"):
        split_sessions(dataset, valid=2, test=3)
    with pytest.raises(SettingsError, match="from 0; found 1 and -1"):
        split_sessions(dataset, valid=1, test=-1)


def test_what_is_not_sessions_or_not_a_moment_is_refused(dataset: Dataset) -> None:
    with pytest.raises(SettingsError, match="split_sessions is for sessions"):
        split_sessions(dataset)
    with pytest.raises(SettingsError, match=r"moments is 'every'. It is one of: first, each"):
        next(evaluation_batches(dataset, history=2, moments="every"))  # type: ignore[arg-type]


def test_sessions_go_by_the_time_of_their_first_event() -> None:
    frame = pl.DataFrame(
        {"session_id": [1, 1, 2, 2, 3, 3], "item_id": [1, 2] * 3, "timestamp": [50, 51, 10, 99, 30, 31]}
    )
    train, _, test = split_sessions(read_dataset(frame, schema={"sequence": "session"}), valid=1, test=1)
    assert train.events.lengths.tolist() == [0, 0, 2, 0]
    assert test.events.lengths.tolist() == [0, 2, 0, 0]


def test_a_session_is_asked_before_each_of_its_events(tmp_path: Path) -> None:
    dataset = _sessions(["1 2", "1 2 4 2", "4 1"], tmp_path)
    _, _, test = split_sessions(dataset, valid=0, test=2)
    (batch,) = evaluation_batches(test, history=2, moments="each")
    assert batch.requests.history is not None
    ids = dataset.encoders.items.ids
    asked = [[ids[item - 1] for item in row if item] for row in batch.requests.history.tolist()]
    assert asked == [[1], [1, 2], [2, 4], [4]]
    assert [ids[item - 1] for item in batch.targets[:, 0].tolist()] == [2, 4, 2, 1]
    assert batch.filter.exclude is not None
    assert [[ids[item - 1] for item in row if item] for row in batch.filter.exclude.tolist()] == [
        [1],
        [1, 2],
        [1, 2, 4],
        [4],
    ]
    assert batch.history_size.tolist() == [1, 2, 3, 1]
    (repeats,) = evaluation_batches(test, history=2, moments="each", exclude_seen=False)
    assert repeats.filter.exclude is None
