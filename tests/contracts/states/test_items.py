"""Changes of items, in any store: they are counted, and of an item the last one holds."""

from __future__ import annotations

import pytest

from shortlist.errors import RequestError
from shortlist.service.state import ItemChange, State


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
