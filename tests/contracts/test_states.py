"""What every store of the service's state must do, whatever keeps it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

import shortlist
from shortlist.errors import RequestError, SettingsError, StateUnavailable
from shortlist.service.state import Appended, ItemChange, State, StoredEvent, open_state

SOURCE = Path(shortlist.__file__).resolve().parents[1]
DAY = 24 * 3600.0
ODD_TEXTS = ["7", "", " ", "a b", "ключ", "键", "🫖👩‍🔧", "e\u0301", "é", "\0", "a\0b", "'; DROP TABLE events; --", "%s{}*?[a]\\", "\n\r\t", "x" * 5_000]  # fmt: skip


class Store:
    """One empty store, which can be opened several times, as workers do."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.states: list[State] = []

    def open(self, *, keep: int = 1_000, ids_kept_s: float = 7 * DAY) -> State:
        if self.url.startswith("sqlite"):
            from shortlist.service.state.sqlite import SQLiteState

            state: State = SQLiteState(self.url.removeprefix("sqlite:///"), keep=keep, ids_kept_s=ids_kept_s)
        else:
            from shortlist.service.state.redis import RedisState

            # A machine that is busy with other tests is no reason to fail here.
            state = RedisState(self.url, keep=keep, ids_kept_s=ids_kept_s, wait_s=20, read_wait_s=20)
        self.states.append(state)
        return state


@pytest.fixture(scope="module")
def redis_url(make_redis: Callable[[], Any]) -> str:
    server = make_redis()
    server.start()
    return str(server.url)


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'state.db'}"
    else:
        url = request.getfixturevalue("redis_url")
        import redis

        with redis.Redis.from_url(url) as server:
            server.flushall()
    made = Store(url)
    yield made
    for state in made.states:
        state.close()


@pytest.fixture
def state(store: Store) -> State:
    return store.open()


def event(
    name: str, user: str = "ann", *, item: str = "tea", timestamp: int | None = 5, at: float = 1e9
) -> StoredEvent:
    return StoredEvent(name, user, item, timestamp, at)


def ids(state: State, user: str = "ann", *, limit: int = 1_000) -> list[str]:
    return [found.event_id for found in state.recent_events(user, limit=limit)]


def test_events_come_back_as_they_were_stored(state: State) -> None:
    first, second = event("a", timestamp=None, at=12.75), event("b", item="cup", timestamp=-3)
    assert state.append_events([first, second]) == Appended(2, 0)
    assert state.recent_events("ann", limit=9) == [first, second]


def test_a_user_without_events_has_none(state: State) -> None:
    assert state.recent_events("nobody", limit=9) == []
    state.append_events([event("a")])
    assert state.recent_events("nobody", limit=9) == []


def test_no_events_are_stored_as_none(state: State) -> None:
    assert state.append_events([]) == Appended(0, 0)


def test_users_are_apart(state: State) -> None:
    state.append_events([event("a", "ann"), event("b", "bob"), event("c", "ann"), event("d", "an")])
    assert (ids(state, "ann"), ids(state, "bob"), ids(state, "an")) == (["a", "c"], ["b"], ["d"])


def test_the_order_is_that_of_storing_over_calls_and_whatever_the_names(state: State) -> None:
    names = [f"{(place * 7_919) % 101:03d}" for place in range(101)]
    state.append_events([event(name) for name in names[:40]])
    for name in names[40:]:
        state.append_events([event(name)])
    assert ids(state) == names


def test_a_clock_that_goes_back_changes_no_order(state: State) -> None:
    for name, at in [("a", 5e9), ("b", 4e9), ("c", 1.0), ("d", 4e9), ("e", 0.0)]:
        state.append_events([event(name, timestamp=int(at), at=at)])
    assert ids(state) == ["a", "b", "c", "d", "e"]
    assert ids(state, limit=2) == ["d", "e"]


def test_the_limit_takes_the_last(state: State) -> None:
    state.append_events([event(str(number)) for number in range(10)])
    assert ids(state, limit=3) == ["7", "8", "9"]
    assert ids(state, limit=1) == ["9"]
    assert ids(state, limit=0) == []
    assert len(ids(state, limit=11)) == 10
    assert len(ids(state, limit=2**40)) == 10


def test_a_negative_limit_is_the_callers_mistake(state: State) -> None:
    with pytest.raises(ValueError, match="limit is -1"):
        state.recent_events("ann", limit=-1)


def test_an_event_id_is_stored_once_within_a_call(state: State) -> None:
    assert state.append_events([event("a", item="1"), event("b"), event("a", item="2")]) == Appended(2, 1)
    assert [found.item_id for found in state.recent_events("ann", limit=9)] == ["1", "tea"]


def test_an_event_id_is_stored_once_over_calls_and_users(state: State) -> None:
    state.append_events([event("a")])
    assert state.append_events([event("a", "bob"), event("b", "bob"), event("a")]) == Appended(1, 2)
    assert (ids(state, "ann"), ids(state, "bob")) == (["a"], ["b"])


def test_a_call_with_a_bad_event_stores_none(state: State) -> None:
    bad = [
        event("\ud800"),
        event("x", "\udfff"),
        event("x", item="a\ud83d"),
        event("x", timestamp=2**63),
        event("x", timestamp=-(2**63) - 1),
    ]
    for wrong in bad:
        with pytest.raises(RequestError):
            state.append_events([event("a"), wrong, event("b")])
    with pytest.raises(ValueError, match="received is nan"):
        state.append_events([event("a"), event("x", at=float("nan"))])
    assert ids(state) == []
    assert state.append_events([event("a", timestamp=2**63 - 1), event("b", timestamp=-(2**63))]) == Appended(2, 0)
    assert [found.timestamp for found in state.recent_events("ann", limit=2)] == [2**63 - 1, -(2**63)]


def test_a_user_id_that_is_no_text_cannot_be_asked_for(state: State) -> None:
    with pytest.raises(RequestError, match="no valid Unicode"):
        state.recent_events("\ud800", limit=1)


def test_ids_are_any_text_and_nothing_is_folded(state: State) -> None:
    events = [event(text, text, item=text) for text in ODD_TEXTS]
    assert state.append_events(events) == Appended(len(events), 0)
    for expected in events:
        assert state.recent_events(expected.user_id, limit=9) == [expected]
    state.change_items([(text, {text: text}) for text in ODD_TEXTS], received=1.0)
    assert [(change.item_id, change.columns) for change in state.item_changes(after=0)] == [
        (text, {text: text}) for text in ODD_TEXTS
    ]


def test_only_the_newest_events_of_a_user_are_kept(store: Store) -> None:
    state = store.open(keep=20)
    state.append_events([event("other", "bob")])
    for start in range(0, 90, 3):
        state.append_events([event(str(number)) for number in range(start, start + 3)])
        assert ids(state) == [str(number) for number in range(max(0, start + 3 - 20), start + 3)]
    state.append_events([event(str(number)) for number in range(90, 200)])
    assert ids(state, limit=50) == [str(number) for number in range(180, 200)]
    assert ids(state, "bob") == ["other"]


def test_one_event_can_be_all_that_is_kept(store: Store) -> None:
    state = store.open(keep=1)
    for name in "abc":
        state.append_events([event(name)])
        assert ids(state) == [name]


def test_ids_of_events_that_are_no_longer_kept_stay_known(store: Store) -> None:
    state = store.open(keep=2)
    events = [event(str(number), at=1e9 + number) for number in range(50)]
    state.append_events(events)
    assert state.append_events(events) == Appended(0, 50)
    assert ids(state) == ["48", "49"]


def test_a_store_that_is_opened_again_goes_on(store: Store) -> None:
    first = store.open()
    first.append_events([event("a"), event("b")])
    first.change_items([("tea", {"price": 2})], received=3.0)
    first.close()
    second = store.open()
    assert ids(second) == ["a", "b"]
    assert second.revision() == 1
    assert second.append_events([event("b"), event("c")]) == Appended(1, 1)
    assert second.change_items([("cup", None)], received=4.0) == 2
    assert ids(second) == ["a", "b", "c"]
    assert [change.item_id for change in second.item_changes(after=0)] == ["tea", "cup"]


def test_one_worker_sees_at_once_what_another_stored(store: Store) -> None:
    one, other = store.open(), store.open()
    for number in range(20):
        writer, reader = (one, other) if number % 2 else (other, one)
        writer.append_events([event(str(number))])
        assert ids(reader)[-1] == str(number)
        assert writer.change_items([(str(number), {})], received=1.0) == reader.revision() == number + 1
    assert ids(one) == ids(other) == [str(number) for number in range(20)]


def test_revisions_count_the_changes_of_items(state: State) -> None:
    assert state.revision() == 0
    assert state.item_changes(after=0) == []
    assert state.change_items([], received=1.0) == 0
    assert state.change_items([("tea", {"title": "Tea", "price": 2.5}), ("cup", None)], received=1.5) == 2
    assert state.change_items([("pot", {"tags": ["a", None], "is_new": True, "size": {"cm": 3}})], received=2.5) == 3
    assert state.revision() == 3
    assert state.item_changes(after=0) == [
        ItemChange(1, "tea", {"title": "Tea", "price": 2.5}, 1.5),
        ItemChange(2, "cup", None, 1.5),
        ItemChange(3, "pot", {"tags": ["a", None], "is_new": True, "size": {"cm": 3}}, 2.5),
    ]
    assert [change.item_id for change in state.item_changes(after=2)] == ["pot"]
    assert state.item_changes(after=3) == []
    assert state.item_changes(after=99) == []
    assert state.change_items([], received=1.0) == 3


def test_of_an_item_the_last_change_holds(state: State) -> None:
    state.change_items([("tea", {"price": 1}), ("cup", {"price": 2})], received=1.0)
    assert state.change_items([("tea", None)], received=2.0) == 3
    assert state.item_changes(after=2) == [ItemChange(3, "tea", None, 2.0)]
    assert state.change_items([("tea", {"price": 4}), ("tea", {"price": 5})], received=3.0) == 5
    assert state.item_changes(after=4) == [ItemChange(5, "tea", {"price": 5}, 3.0)]
    assert {change.item_id: change.columns for change in state.item_changes(after=0)} == {
        "cup": {"price": 2},
        "tea": {"price": 5},
    }
    revisions = [change.revision for change in state.item_changes(after=0)]
    assert revisions == sorted(set(revisions))


def test_a_call_with_a_bad_change_changes_nothing(state: State) -> None:
    for wrong in [("\ud800", {}), ("x", {"a": object()}), ("x", {"a": "\ud800"})]:
        with pytest.raises(RequestError):
            state.change_items([("tea", {}), wrong], received=1.0)
    assert state.revision() == 0
    assert state.item_changes(after=0) == []


def test_many_changes_come_whole_and_in_order(state: State) -> None:
    for start in range(0, 5_000, 1_250):
        state.change_items([(f"i{number}", {"n": number}) for number in range(start, start + 1_250)], received=1.0)
    changes = state.item_changes(after=10)
    assert [change.revision for change in changes] == list(range(11, 5_001))
    assert [change.item_id for change in changes] == [f"i{number}" for number in range(10, 5_000)]


def test_threads_that_write_and_read_at_once_lose_nothing(state: State) -> None:
    threads, each = 8, 60
    problems: list[BaseException] = []
    stored = Counter[str]()
    is_done = threading.Event()

    def write(thread: int) -> None:
        try:
            for number in range(each):
                batch = [event(f"{thread}-{number}-{part}", f"u{part}") for part in range(number % 3 + 1)]
                again = [event(f"shared-{number}", "shared")]  # by every thread
                outcome = state.append_events(batch + again)
                stored.update(stored=outcome.stored, duplicates=outcome.duplicates)
                assert f"{thread}-{number}-0" in ids(state, "u0")
        except BaseException as error:
            problems.append(error)

    def read() -> None:
        try:
            while not is_done.is_set():
                seen = ids(state, "u0")
                for thread in range(threads):
                    numbers = [int(name.split("-")[1]) for name in seen if name.startswith(f"{thread}-")]
                    assert numbers == list(range(len(numbers)))
        except BaseException as error:
            problems.append(error)

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(thread,)) for thread in range(threads)]
    for one in (reader, *writers):
        one.start()
    for one in writers:
        one.join()
    is_done.set()
    reader.join()
    assert problems == []
    assert len(ids(state, "u0")) == threads * each
    assert ids(state, "shared") == [f"shared-{number}" for number in range(each)]
    assert stored["stored"] == sum(len(ids(state, f"u{part}")) for part in range(3)) + each
    assert stored["duplicates"] == (threads - 1) * each


def test_threads_that_change_items_at_once_get_revisions_of_their_own(state: State) -> None:
    revisions: list[int] = []

    def change(thread: int) -> None:
        for number in range(25):
            revisions.append(state.change_items([(f"{thread}-{number}", {})], received=1.0))

    threads = [threading.Thread(target=change, args=(thread,)) for thread in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(revisions) == list(range(1, 101))
    assert [found.revision for found in state.item_changes(after=0)] == list(range(1, 101))


WRITER = """
import json, sys
from shortlist.service.state import StoredEvent
{making}
name, count = sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
last = 0
for number in range(count):
    found = state.append_events([StoredEvent(f"{{name}}-{{number}}", "ann", "tea", None, 1.0),
                                 StoredEvent(f"both-{{number}}", "both", "tea", None, 1.0)])
    assert found.stored + found.duplicates == 2
    revision = state.change_items([(f"{{name}}-{{number}}", {{"n": number}})], received=1.0)
    assert last < revision <= state.revision()
    last = revision
state.close()
"""
MAKING = {
    "sqlite": "from shortlist.service.state.sqlite import SQLiteState\nstate = SQLiteState(sys.argv[1][10:], wait_s=20)",
    "redis": "from shortlist.service.state.redis import RedisState\nstate = RedisState(sys.argv[1], wait_s=20, read_wait_s=20)",
}


def test_processes_that_write_at_once_lose_nothing(store: Store) -> None:
    count = 150
    code = WRITER.format(making=MAKING[store.url.partition(":")[0]])
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, store.url, name, str(count)],
            env=os.environ | {"PYTHONPATH": str(SOURCE)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two", "three")
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.communicate("go\n", timeout=60)
        assert writer.returncode == 0
    state = store.open()
    stored = ids(state)
    assert len(stored) == 3 * count
    for name in ("one", "two", "three"):
        assert [one for one in stored if one.startswith(f"{name}-")] == [f"{name}-{number}" for number in range(count)]
    assert ids(state, "both") == [f"both-{number}" for number in range(count)]
    assert [change.revision for change in state.item_changes(after=0)] == list(range(1, 3 * count + 1))


def test_a_sound_store_passes_its_check(state: State) -> None:
    state.append_events([event("a")])
    state.check()
    state.check()
    assert ids(state) == ["a"]
    assert state.revision() == 0


def test_closing_twice_is_fine_and_later_calls_say_that_it_is_closed(state: State) -> None:
    state.append_events([event("a")])
    state.close()
    state.close()
    later: list[Callable[[], object]] = [
        lambda: state.append_events([event("b")]),
        lambda: state.recent_events("ann", limit=1),
        lambda: state.change_items([("tea", None)], received=1.0),
        lambda: state.item_changes(after=0),
        state.revision,
        state.check,
    ]
    for call in later:
        with pytest.raises(StateUnavailable, match="closed"):
            call()


@pytest.mark.parametrize("settings", [{"keep": 0}, {"keep": 1.5}, {"ids_kept_s": 0}])
def test_settings_out_of_range_are_refused(store: Store, settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(settings))):
        store.open(**settings)


def test_an_address_opens_its_kind_of_store(store: Store) -> None:
    state = open_state(store.url, keep=2)
    state.append_events([event(name) for name in "abc"])
    assert ids(state) == ["b", "c"]
    state.close()


def test_all_events_come_user_by_user_in_the_order_of_storing(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    from shortlist.service.state import sqlite

    monkeypatch.setattr(sqlite, "PAGE", 3)
    assert list(state.all_events()) == []
    users = ["b", "a", *ODD_TEXTS, "b", "a", "b", "b", "b"]
    stored = [event(str(place), user) for place, user in enumerate(users)]
    state.append_events(stored)
    by_user = {user: list(own) for user, own in groupby(state.all_events(), key=attrgetter("user_id"))}
    assert sum(map(len, by_user.values())) == len(stored)  # so that no user came twice
    for user, own in by_user.items():
        assert own == [each for each in stored if each.user_id == user]


def test_of_all_events_those_that_are_kept_come(store: Store) -> None:
    state = store.open(keep=8)
    for place in range(30):
        state.append_events([event(str(place))])
    found = [each.event_id for each in state.all_events()]
    assert found[-8:] == [str(place) for place in range(22, 30)]
    assert len(found) <= 9
