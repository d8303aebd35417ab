"""Events, in any store: each is stored once, comes back as it was and in order, and the newest are kept."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter

import pytest
from tests.contracts.states.stores import ODD_TEXTS, Store, event, ids

from shortlist.errors import RequestError
from shortlist.service.state import Appended, State


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
