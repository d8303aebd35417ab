"""Redis that is killed, hangs, is full or holds what is not ours is told as an error, and used again once it is well."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from storing import event, ids

from shortlist.errors import StateFull, StateUnavailable
from shortlist.service.state import Appended
from shortlist.service.state.redis import RedisState


def test_redis_that_is_killed_is_unavailable_and_works_again_when_it_is_back(make_redis: Callable[[], Any]) -> None:
    server = make_redis()
    state = RedisState(server.url, wait_s=20, read_wait_s=20)  # before there is one
    with pytest.raises(StateUnavailable, match="cannot be reached"):
        state.append_events([event("early")])
    server.start()
    stored = []
    for this_round in range(3):
        for number in range(50):
            state.append_events([event(f"{this_round}-{number}")])
            stored.append(f"{this_round}-{number}")
        state.change_items([(str(this_round), {})], received=1.0)
        server.end(signal.SIGKILL)
        calls: list[Callable[[], object]] = [
            lambda: state.append_events([event("lost")]),
            lambda: state.recent_events("ann", limit=5),
            lambda: state.item_changes(after=0),
            state.revision,
            state.check,
        ]
        for call in calls:
            begun = time.monotonic()
            with pytest.raises(StateUnavailable, match="cannot be reached"):
                call()
            assert time.monotonic() - begun < 1
        server.start()
        assert ids(state) == stored
        assert state.revision() == this_round + 1
    state.close()


def test_redis_that_hangs_is_unavailable_soon_and_holds_nobody_up_twice(make_redis: Callable[[], Any]) -> None:
    server = make_redis()
    server.start()
    state = RedisState(server.url, wait_s=20, read_wait_s=1.0)
    state.append_events([event("a")])
    server.end(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        with pytest.raises(StateUnavailable, match="does not answer in time"):
            ids(state)
        assert time.monotonic() - begun < 3
        begun = time.monotonic()
        for _ in range(100):
            with pytest.raises(StateUnavailable, match="did not answer in time just now"):
                ids(state)
        assert time.monotonic() - begun < 0.5
    finally:
        server.end(signal.SIGCONT)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            assert ids(state) == ["a"]
            break
        except StateUnavailable:
            time.sleep(0.05)
    assert state.append_events([event("b")]) == Appended(1, 0)
    assert ids(state) == ["a", "b"]
    state.close()


def test_redis_without_memory_is_full_and_goes_on_when_there_is_some(make_redis: Callable[[], Any]) -> None:
    import redis

    server = make_redis()
    server.start()
    state = RedisState(server.url, wait_s=20, read_wait_s=20)
    state.append_events([event("a")])
    with redis.Redis.from_url(server.url) as admin:
        admin.config_set("maxmemory", "1mb")
        for write in (
            lambda: state.append_events([event("b"), event("a")]),
            lambda: state.change_items([("tea", {})], received=1.0),
        ):
            with pytest.raises(StateFull, match="no room") as told:
                write()
            assert "tea" not in str(told.value)
        with pytest.raises(StateUnavailable, match="no room"):
            state.check()
        assert ids(state) == ["a"]
        assert state.item_changes(after=0) == []
        admin.config_set("maxmemory", "0")
    assert state.append_events([event("b"), event("a")]) == Appended(1, 1)
    state.check()
    state.close()


def test_redis_that_keeps_nothing_is_warned_of_once(make_redis: Callable[[], Any]) -> None:
    from shortlist.errors import ShortlistWarning

    server = make_redis()
    server.start("--appendonly", "no")
    state = RedisState(server.url)
    with pytest.warns(ShortlistWarning, match="no append-only file: a restart loses events"):
        state.append_events([event("a")])
    state.append_events([event("b")])
    assert ids(state) == ["a", "b"]
    state.close()


def test_redis_that_can_tell_is_waited_for_until_it_has_flushed(make_redis: Callable[[], Any]) -> None:
    import redis

    server = make_redis()
    server.start("--appendfsync", "everysec")
    with redis.Redis.from_url(server.url) as admin:
        version = str(admin.info("server")["redis_version"])
        if tuple(int(part) for part in version.split(".")[:2]) < (7, 2):
            pytest.skip(f"the server is of version {version}; WAITAOF came with 7.2")
        state = RedisState(server.url, wait_s=20)
        for name in "abc":
            state.append_events([event(name)])
            (flushed, _) = admin.execute_command("WAITAOF", 0, 0, 0)
            assert flushed >= 0
        assert admin.info("commandstats")["cmdstat_waitaof"]["calls"] >= 3
    assert ids(state) == ["a", "b", "c"]
    state.close()


def test_what_somebody_else_put_into_redis_is_an_error_and_no_crash(make_redis: Callable[[], Any]) -> None:
    import redis

    server = make_redis()
    server.start()
    state = RedisState(server.url)
    with redis.Redis.from_url(server.url) as admin:
        admin.set("{shortlist}:events:ann", "a text")
        admin.rpush("{shortlist}:events:bob", b"\xff", b"[1, 2]")
    with pytest.raises(StateUnavailable, match="refuses"):
        ids(state, "ann")
    with pytest.raises(StateUnavailable, match="did not store"):
        ids(state, "bob")
    state.close()
