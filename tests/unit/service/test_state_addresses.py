"""Which address opens which store, and what a wrong one is told."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from pathlib import Path

import pytest

from shortlist.errors import MissingExtraError, SettingsError, StateError, StateFull, StateUnavailable
from shortlist.service.state import open_state
from shortlist.service.state.sqlite import SQLiteState


def test_three_slashes_begin_a_relative_path_and_four_an_absolute_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    open_state("sqlite:///state.db").close()
    open_state(f"sqlite:///{tmp_path}/absolute.db").close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["absolute.db", "state.db"]


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    name = "a b%20?mode=ro#x&'.db"
    open_state(f"sqlite:///{tmp_path}/{name}").close()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_relative_path_stays_where_it_was_when_the_process_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    state = open_state("sqlite:///state.db")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert state.recent_events("ann", limit=1) == []
    state.check()
    state.close()


@pytest.mark.parametrize(
    "url",
    ["", "state.db", "/abs/state.db", "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://host/state.db"]
    + ["postgresql://host/db", "redis://", "Redis:/host", "http://host"],
)
def test_any_other_address_is_refused_with_what_there_is(url: str) -> None:
    with pytest.raises(
        SettingsError, match=r"no address of a state\. What there is: sqlite:///relative/path\.db.*redis://"
    ):
        open_state(url)


@pytest.mark.parametrize("url", ["redis://host:port/0", "redis://host:99999/0", "redis://:6379", "redis://h/0?db=3"])
def test_a_malformed_address_of_a_server_is_refused(url: str) -> None:
    pytest.importorskip("redis", reason="comes with the extra 'redis'")
    with pytest.raises(SettingsError, match="Write redis://HOST:PORT/DATABASE"):
        open_state(url)


def test_no_message_shows_a_password() -> None:
    pytest.importorskip("redis", reason="comes with the extra 'redis'")
    for url in ("redis://user:secret@127.0.0.1:1/0", "redis://:secret@127.0.0.1:1/0"):
        state = open_state(url)
        with pytest.raises(StateUnavailable, match=r"^redis://127\.0\.0\.1:1/0 cannot be reached") as told:
            state.revision()
        assert "secret" not in str(told.value)
        state.close()
    with pytest.raises(SettingsError) as refused:
        open_state("mysql://user:secret@host/db")
    assert "secret" not in str(refused.value)
    with pytest.raises(SettingsError) as malformed:
        open_state("redis://user:secret@host:port/0")
    assert "secret" not in str(malformed.value)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(MissingExtraError, match=r'pip install "shortlist\[redis\]"'):
        open_state("redis://127.0.0.1:6379/0")


def test_a_store_that_cannot_be_opened_is_left_closed(tmp_path: Path) -> None:
    """No connection stays behind that would keep the file open."""
    path = tmp_path / "state.db"
    SQLiteState(path).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 9")
    with pytest.raises(StateUnavailable):
        SQLiteState(path)
    open_files = Path("/proc/self/fd")
    if open_files.is_dir():
        assert not any(path == file.resolve() for file in open_files.iterdir())


def test_one_kind_of_error_covers_all_that_a_store_may_raise() -> None:
    assert issubclass(StateFull, StateError)
    assert issubclass(StateUnavailable, StateError)
    assert not issubclass(StateFull, StateUnavailable)
