from __future__ import annotations

import polars as pl
import pytest

from shortlist.data.ids import distinct, positions, read_ids, same_kind
from shortlist.errors import DataError


def ids(values, **kind):
    return read_ids(pl.Series("user", values, **kind), where="events.csv")


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([3, 1], pl.UInt8, [3, 1]),
        ([3.0, 1.0], pl.Float64, [3, 1]),
        (["b", "a"], pl.Categorical, ["b", "a"]),
        ([2**64 - 1, 5], pl.UInt64, [str(2**64 - 1), "5"]),
    ],
)
def test_ids_become_integers_or_text(values, kind, expected):
    assert ids(values, dtype=kind).to_list() == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            [1, None, None],
            r"events\.csv: 2 of 3 rows have no 'user'; the first is row 2\. Drop them first, e\.g\. with polars",
        ),
        ([1.0, float("nan")], r"1 of 2 rows have no 'user'; the first is row 2"),
        (["a", ""], r"1 of 2 rows have no 'user'; the first is row 2"),
        ([1.5, 2.0], r"'user' holds fractions such as \[1\.5\]"),
        ([True, False], r"'user' holds Boolean\. Ids are whole numbers or text"),
        ([[1], [2]], r"'user' holds List\(Int64\)"),
    ],
)
def test_what_is_no_id_is_refused(values, message):
    with pytest.raises(DataError, match=message):
        ids(values)


def test_a_column_of_mixed_types_is_refused():
    with pytest.raises(
        DataError, match="'user' holds values of several types. Ids are whole numbers or text; cast the column"
    ):
        ids([1, "x"], dtype=pl.Object)


def test_integers_sort_by_size_and_text_by_characters():
    assert distinct(pl.Series([10, 9, 10])).to_list() == [9, 10]
    assert distinct(pl.Series(["10", "9", "10"])).to_list() == ["10", "9"]


@pytest.mark.parametrize("known", [[3, 5, 9], [3, 5, 10**12], ["a", "b", "d"]])
def test_positions_count_from_one_and_are_zero_for_strangers(known):
    stranger = "c" if isinstance(known[0], str) else 4
    asked = pl.Series([known[2], stranger, known[0], known[1]])
    assert positions(asked, pl.Series(known)).tolist() == [3, 0, 1, 2]


def test_positions_of_numbers_beyond_the_known_ones_are_zero():
    assert positions(pl.Series([-7, 2**62, 1] * 5), pl.Series([1, 2])).tolist() == [0, 0, 1] * 5


def test_text_of_whole_numbers_meets_numbers_and_other_text_makes_all_text():
    first, second = same_kind(pl.Series([1, 2]), pl.Series(["2", "3"]))
    assert (first.to_list(), second.to_list()) == ([1, 2], [2, 3])
    first, second = same_kind(pl.Series([1, 2]), pl.Series(["2", "x"]))
    assert (first.to_list(), second.to_list()) == (["1", "2"], ["2", "x"])
    first, second = same_kind(pl.Series([1, 2]), pl.Series(["02", "1"]))
    assert (first.to_list(), second.to_list()) == (["1", "2"], ["02", "1"])
