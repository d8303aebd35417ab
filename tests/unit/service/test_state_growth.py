"""What a store keeps of a user who never stops, and for how long it knows ids."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shortlist.service.state import Appended, StoredEvent
from shortlist.service.state.redis import RedisState
from shortlist.service.state.sqlite import SQLiteState


def events(first: int, last: int) -> list[StoredEvent]:
    """Numbered events, one a second."""
    return [StoredEvent(str(number), "ann", "tea", None, float(number)) for number in range(first, last)]


def rows(path: Path, table: str) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(count)


def test_sqlite_holds_at_most_an_eighth_more_events_than_it_keeps(tmp_path: Path) -> None:
    state = SQLiteState(tmp_path / "state.db", keep=80)
    most = 0
    for number in range(500):
        state.append_events(events(number, number + 1))
        most = max(most, rows(state.path, "events"))
    assert most == 90
    state.close()


def test_sqlite_forgets_ids_of_deleted_events_after_the_stated_time(tmp_path: Path) -> None:
    state = SQLiteState(tmp_path / "state.db", keep=10, ids_kept_s=100.0)
    for start in range(0, 1_000, 10):
        state.append_events(events(start, start + 10))
    assert state.append_events(events(900, 1_000)) == Appended(0, 100)  # within 100 s
    assert state.append_events(events(990, 1_000)) == Appended(0, 10)  # still kept
    assert 85 <= rows(state.path, "trimmed") <= 100
    assert state.append_events(events(0, 1)) == Appended(1, 0)  # long ago
    state.close()


def test_sqlite_forgets_no_id_because_the_clock_went_back(tmp_path: Path) -> None:
    state = SQLiteState(tmp_path / "state.db", keep=1, ids_kept_s=100.0)
    for number in range(1_000, 900, -1):
        state.append_events(events(number, number + 1))
    assert state.append_events(events(901, 1_001)) == Appended(0, 100)
    state.close()


def test_redis_holds_as_many_events_as_it_keeps_and_ids_for_the_stated_time(make_redis: Callable[[], Any]) -> None:
    import redis

    server = make_redis()
    server.start()
    state = RedisState(server.url, keep=80, ids_kept_s=100.0, wait_s=20, read_wait_s=20)
    with redis.Redis.from_url(server.url) as admin:
        for start in range(0, 500, 50):
            state.append_events(events(start, start + 50))
            assert admin.llen("{shortlist}:events:ann") == min(start + 50, 80)
        times = [admin.ttl(f"{{shortlist}}:event:{number}") for number in range(500)]
        assert all(50 < left <= 100 for left in times)
        admin.expire("{shortlist}:event:0", 0)
    assert state.append_events(events(0, 2)) == Appended(1, 1)
    state.close()
