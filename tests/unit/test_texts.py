"""Many texts in two arrays: the same texts, by place, in parts and changed."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from shortlist.texts import Texts

SOME = ["tea", "", "Süd", "日本語", "\ud800 half", "a\0b", "tea"]


def test_texts_come_back_as_they_were() -> None:
    texts = Texts.of(SOME)
    assert list(texts) == SOME
    assert [texts[place] for place in range(-7, 7)] == SOME * 2
    assert texts.some(np.array([6, 0, 1])) == ["tea", "tea", ""]
    assert list(texts[1:4]) == SOME[1:4]
    assert list(texts[::-1]) == SOME[::-1]
    assert list(Texts.of_arrays(texts.arrays())) == SOME
    assert "Süd" in texts


@pytest.mark.parametrize("place", [7, -8])
def test_a_place_outside_is_an_error(place: int) -> None:
    with pytest.raises(IndexError):
        _ = Texts.of(SOME)[place]


def test_equal_are_those_of_the_same_texts_in_the_same_order() -> None:
    assert Texts.of(["a", "bc"]) == Texts.of(["a", "bc"])
    assert Texts.of(["a", "bc"]) != Texts.of(["ab", "c"])
    assert Texts.of(["a"]) != Texts.of(["a", ""])
    assert Texts.of(["a"]) != ["a"]
    assert hash(Texts.of(["a", "bc"])) == hash(Texts.of(["a", "bc"]))


def test_some_are_taken_joined_and_replaced() -> None:
    texts = Texts.of(SOME)
    assert list(texts.take(np.array([3, 3, 1]))) == ["日本語", "日本語", ""]
    assert list(texts.plus(Texts.of(["more", ""]))) == [*SOME, "more", ""]
    changed = texts.replaced(np.array([6, 1]), Texts.of(["last", "second"]))
    assert list(changed) == ["tea", "second", *SOME[2:6], "last"]
    assert list(texts.replaced(np.array([], dtype=np.int64), Texts.of([]))) == SOME
    assert list(texts) == SOME


def test_none_are_texts_too() -> None:
    none = Texts.of([])
    assert (len(none), list(none), list(none.plus(Texts.of(["a"])))) == (0, [], ["a"])
    assert list(none.take(np.array([], dtype=np.int64))) == []


def test_texts_are_compared_pair_by_pair() -> None:
    one, other = Texts.of(["tea", "", "Süd", "cup"]), Texts.of(["cup", "tea", "", "Sad", "Süd"])
    same = one.same(np.array([0, 1, 2, 2, 3, 0]), other, np.array([1, 2, 4, 3, 0, 0]))
    assert same.tolist() == [True, True, True, False, True, False]


@pytest.mark.parametrize("texts", [[], [""], ["tea", "", "Süd", "茶", "tea 2"]])
def test_a_column_becomes_the_texts_that_its_values_become(texts: list[str]) -> None:
    assert Texts.of_series(pl.Series(texts, dtype=pl.String)) == Texts.of(texts)
