"""A store's file that is locked, removed, replaced or no store at all takes no event, and is left as it is."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from storing import event, ids

from shortlist.errors import StateUnavailable
from shortlist.service.state import Appended
from shortlist.service.state.sqlite import SQLiteState


def test_a_locked_file_is_unavailable_for_writing_and_goes_on_when_it_is_free(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    state = SQLiteState(path, wait_s=0.2)
    state.append_events([event("a")])
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for write in (lambda: state.append_events([event("b")]), state.check):
            begun = time.monotonic()
            with pytest.raises(StateUnavailable, match="locked"):
                write()
            assert 0.2 <= time.monotonic() - begun < 2
        assert ids(state) == ["a"]
        assert state.revision() == 0
        other.execute("ROLLBACK")
    assert state.append_events([event("b")]) == Appended(1, 0)
    assert ids(state) == ["a", "b"]
    state.close()


def test_all_who_wait_for_a_locked_file_are_told_and_none_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    state = SQLiteState(path, wait_s=0.2)
    told: list[Exception] = []

    def write(number: int) -> None:
        try:
            state.append_events([event(str(number))])
        except StateUnavailable as error:
            told.append(error)

    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        threads = [threading.Thread(target=write, args=(number,)) for number in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        other.execute("ROLLBACK")
    assert len({id(error) for error in told}) == 10
    assert ids(state) == []
    assert state.append_events([event("after")]) == Appended(1, 0)
    state.close()


def test_a_file_that_was_removed_or_replaced_takes_no_more_events(tmp_path: Path) -> None:
    """They would go to a file without a name, and be lost with the process."""
    path = tmp_path / "state.db"
    state = SQLiteState(path)
    state.append_events([event("a")])
    kept = tmp_path / "kept.db"
    path.rename(kept)
    with pytest.raises(StateUnavailable, match="cannot be used: No such file"):
        state.append_events([event("b")])
    path.write_bytes(kept.read_bytes())
    with pytest.raises(StateUnavailable, match="no longer the file"):
        state.append_events([event("b")])
    with pytest.raises(StateUnavailable, match="no longer the file"):
        state.check()
    state.close()


def test_a_file_that_lost_its_main_part_is_not_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    (tmp_path / "state.db-wal").write_bytes(b"rest")
    with pytest.raises(StateUnavailable, match=r"state.db-wal is, a part of it"):
        SQLiteState(path)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "state.db-wal"]


def test_what_is_no_store_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.db"
    with contextlib.closing(sqlite3.connect(foreign, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE notes (text)")
    in_wal = tmp_path / "wal.db"
    with contextlib.closing(sqlite3.connect(in_wal, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE notes (text)")
        contents = {name: (tmp_path / name).read_bytes() for name in ("wal.db", "wal.db-wal")}
    for name, content in contents.items():  # as after a kill: closing has tidied up
        (tmp_path / name).write_bytes(content)
    for name, content in [
        ("text", b"user_id,item_id\n1,2\n" * 500),
        ("short", b"SQLite"),
        ("only the beginning", b"SQLite format 3\0"),
        ("empty", b""),
        ("zeros", bytes(8_192)),
    ]:
        (tmp_path / name).write_bytes(content)
    names = ["foreign.db", "wal.db", "text", "short", "only the beginning", "empty", "zeros"]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for name in names:
        with pytest.raises(StateUnavailable, match=r"It is left as it is"):
            SQLiteState(tmp_path / name)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    with pytest.raises(StateUnavailable, match="cannot be used: Is a directory"):
        SQLiteState(tmp_path)
    with pytest.raises(StateUnavailable, match="there is no folder"):
        SQLiteState(tmp_path / "nowhere" / "state.db")


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    SQLiteState(path).close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(StateUnavailable, match="store of version 2; this Shortlist reads 1"):
        SQLiteState(path)


def test_a_store_without_one_of_its_tables_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    SQLiteState(path).close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DROP TABLE trimmed")
    with pytest.raises(StateUnavailable, match="lacks tables"):
        SQLiteState(path)
