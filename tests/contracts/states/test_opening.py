"""Any store is opened by its address, checked, closed, and opened again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.contracts.states.stores import Store, event, ids

from shortlist.errors import SettingsError, StateUnavailable
from shortlist.service.state import Appended, State, open_state


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
