"""Columns as their different texts and codes."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from shortlist.data.levels import Levels, _numbered
from shortlist.errors import DataError

COLUMNS = {
    "text": pl.Series(["b", None, "a", "", "b"]),
    "categories": pl.Series(["b", None, "a", "", "b"]).cast(pl.Categorical(pl.Categories.random())),
    "shared categories": pl.Series(["z", "y", "b", None, "a", "", "b"]).cast(pl.Categorical)[2:],
    "enum": pl.Series(["b", None, "a", "", "b"], dtype=pl.Enum(["", "a", "b", "never"])),
}


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_every_kind_of_text_has_the_same_levels(column: pl.Series) -> None:
    levels = Levels.of(column)
    order = levels.texts.arg_sort().to_list()
    assert levels.texts.gather(order).to_list() == ["a", "b"]  # empty text is missing
    assert levels.counts[order].tolist() == [1, 2]
    places = torch.zeros(2, dtype=torch.int32)
    places[order] = torch.tensor([7, 9], dtype=torch.int32)
    assert levels.spread(places)[:].tolist() == [9, 0, 7, 0, 9]


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([3, 1, 3]),
        pl.Series([3, 1, 3], dtype=pl.UInt8),
        pl.Series([3.0, 1.0, 3.0]),
        pl.Series(["3", "1", "3"]),
    ],
)
def test_a_number_is_the_same_value_however_it_is_written(column: pl.Series) -> None:
    levels = Levels.of(column)
    assert sorted(levels.texts) == ["1", "3"]
    assert sorted(levels.counts.tolist()) == [1, 2]


def test_gaps_in_whole_numbers_are_missing() -> None:
    levels = Levels.of(pl.Series([-5, None, 2**40, -5]))
    assert sorted(levels.texts) == ["-5", str(2**40)]
    ones = torch.ones(2, dtype=torch.int32)
    assert levels.spread(ones)[:].tolist() == [1, 0, 1, 1]


def test_long_columns_of_texts_have_a_number_for_each_text() -> None:
    texts = pl.Series([None, "", *(f"t{number * 7919 % 3000}" for number in range(200_000))])
    levels = Levels.of(texts)
    found = levels.texts.gather(levels.spread(torch.arange(3000, dtype=torch.int32), missing=-1)[2:].numpy())
    assert found.equals(texts[2:])
    assert levels.spread(torch.zeros(3000, dtype=torch.int32), missing=5)[:3].tolist() == [5, 5, 0]


def test_hashes_that_meet_in_a_slot_are_told_apart() -> None:
    """All of these begin with the same bits."""
    hashes = np.random.default_rng(0).integers(0, 50, 100_000).astype(np.uint64)
    numbers, firsts = _numbered(hashes)
    assert len(firsts) == 50
    assert (hashes[firsts][numbers] == hashes).all()


def test_nothing_has_no_levels_and_lists_are_refused() -> None:
    for empty in (
        pl.Series([], dtype=pl.String),
        pl.Series([None, None], dtype=pl.String),
        pl.Series([], dtype=pl.Int64),
    ):
        levels = Levels.of(empty)
        assert len(levels.texts) == 0
        assert levels.spread(torch.zeros(0, dtype=torch.int32))[:].tolist() == [0] * len(empty)
    with pytest.raises(DataError, match=r'Make its kind "multi"'):
        Levels.of(pl.Series("tags", [["a"]]))


@pytest.mark.parametrize("rows", [5, 2000])
def test_columns_of_any_length_and_width_of_code_have_their_rows(rows: int) -> None:
    narrow = pl.Series(["a", "b", None, "a", ""] * (rows // 5)).cast(pl.Categorical(pl.Categories("few", "", pl.UInt8)))
    hashed = pl.Series([2**63 + 5, 3, 3, 2**63 + 5, 3] * (rows // 5), dtype=pl.UInt64)
    for column, wanted in ((narrow, {"a": 2, "b": 1}), (hashed, {str(2**63 + 5): 2, "3": 3})):
        levels = Levels.of(column)
        assert len(levels.codes) == rows
        counted = dict(zip(levels.texts, levels.counts.tolist(), strict=True))
        assert counted == {text: count * (rows // 5) for text, count in wanted.items()}
