"""The items' raw columns: what is kept of them, conditions over them, and the values that caps count."""

from __future__ import annotations

import re
from datetime import date
from itertools import pairwise

import polars as pl
import pytest
import torch

import shortlist as sl
from shortlist.data import Dataset, read_dataset, read_later
from shortlist.data.attributes import ItemValues, allowed_items
from shortlist.errors import RequestError

EVENTS = pl.DataFrame({"user_id": ["a", "a", "b"], "item_id": [3, 1, 4], "timestamp": [1, 2, 3]})
ITEMS = pl.DataFrame(
    {
        "id": [1, 2, 3, 9],
        "kind": ["tea", "cup", "tea", None],
        "price": [4.5, 20.0, None, 7.0],
        "tags": [["hot", "red"], ["red"], [], None],
        "labels": ["a|b", "b", "", None],
        "born": [date(2024, 1, 1), date(2025, 1, 1), date(2026, 1, 1), None],
        "maker": pl.Series(["x", "y", "x", "y"], dtype=pl.Categorical),
        "picture": [b"1", b"2", b"3", b"4"],
        "vector": [[0.5, 1.0]] * 4,
        "record": [{"a": 1}] * 4,
    }
)


@pytest.fixture(scope="module")
def items() -> Dataset:
    features = [{"name": "labels", "kind": "multi", "owner": "item", "separator": "|"}]
    return read_dataset(EVENTS, items=ITEMS.drop("vector", "record", "picture"), schema={"features": features})


def ids(dataset: Dataset, where: str) -> list[int]:
    allowed = allowed_items(dataset, where)
    assert not allowed[0]
    assert len(allowed) == dataset.num_items + 1
    return dataset.encoders.items.decode(allowed.nonzero().squeeze(1).numpy()).tolist()


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ("kind = 'tea'", [1, 3]),
        ("kind = 'tea' and price < 20", [1]),  # what has no price is not cheap
        ("not (price < 10)", [2]),
        ("price is null", [3, 4]),  # 4 has events and no row in the table
        ("kind in ('cup', 'pot') or item_id = 9", [2, 9]),
        ("item_id between 2 and 4", [2, 3, 4]),
        ("labels like '%b%'", [1, 2]),
        ("array_contains(tags, 'red')", [1, 2]),
        ("born > '2024-06-01'::date", [2, 3]),
        ("maker = 'x'", [1, 3]),
        ("price < 0", []),
        ('"price" * 2 > 10', [2, 9]),
        ("upper(kind) = 'TEA' or kind = 'it''s lpad('", [1, 3]),
        ("round(abs(-price), 0) = 20 and (kind) in ('cup')", [2]),
        ("case when price > 5 then kind like 'c%' else kind = 'tea' end", [1, 2, 3]),
    ],
)
def test_a_condition_chooses_items_by_index(items: Dataset, where: str, wanted: list[int]) -> None:
    assert ids(items, where) == wanted


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("prise < 3", "uses 'prise', which the items table does not have. Did you mean 'price'"),
        ("price <", "is not a condition in SQL"),
        ("", "is not a condition in SQL"),
        ("price", "must say true or false of each item"),
        ("true", "must say true or false of each item"),
        ("count(*) > 1", "uses the function count"),
        ("lpad(kind, 1000000000, 'x') = 'a'", "uses the function lpad"),
        ("replace(replace(kind, '', 'aaaa'), '', 'aaaa') = 'a'", "uses the function replace"),
        ("kind = array_to_string(array_agg(kind), kind)", "uses the function array_to_string"),
        ("LPAD/**/(kind, 9, 'x') = 'a'", "uses a comment"),
        ("\"lpad\"\n(kind, 9, 'x') = 'a'", 'uses the function "lpad"'),
        ("kind = x'00'", "uses the text '00'"),
        ("kind || kind = 'a'", "uses the character '|'"),
        ("cast(price as decimal(99, 99)) > 1", "uses the function decimal"),
        ("price between 1 and 2 and kind = $$a$$", "uses the character '$'"),
        ("kind > 3", "cannot be computed"),
        ("cast(kind as int) > 3", "cannot be computed"),
        ("price in (select 1)", "which the items table does not have"),
        ("price > 1; drop table items", "is not a condition in SQL"),
        (" or ".join(["price > 1"] * 5_000), "at most 2,000 are read"),
        ("(" * 900 + "price > 1" + ")" * 900, "is not a condition in SQL"),
    ],
)
def test_what_is_no_condition_over_the_columns_is_told_why(items: Dataset, where: str, words: str) -> None:
    with pytest.raises(RequestError, match=re.escape(words)):
        allowed_items(items, where)


def test_the_longest_condition_that_is_read_does_no_harm(items: Dataset) -> None:
    """One with some thousand terms would overrun the stack of the parser, and end the process."""
    assert ids(items, "+".join(["price"] * 330) + ">1") == [1, 2, 9]


def test_raw_columns_stay_with_every_part(items: Dataset) -> None:
    train, _, test = sl.split_by_time(items, valid=0, test=0.4)
    later = read_later(pl.DataFrame({"user_id": ["b"], "item_id": [1], "timestamp": [9]}), items)
    for part in (train, test, later):
        assert part.item_table is items.item_table
    assert items.item_table is not None
    assert items.item_table.frame["item_id"].to_list() == items.encoders.items.ids.tolist()


def test_vectors_pictures_and_records_are_not_kept() -> None:
    schema = sl.Schema(timestamp="timestamp", features=(sl.Feature("kind", "categorical", "item"),))
    dataset = read_dataset(EVENTS, items=ITEMS, schema=schema)
    assert dataset.item_table is not None
    assert dataset.item_table.columns == ["item_id", "kind", "price", "tags", "labels", "born", "maker"]


def test_items_below_the_least_count_leave_the_table_too() -> None:
    events = pl.DataFrame({"user_id": ["a", "b", "a", "b"], "item_id": [3, 3, 1, 1]})
    dataset = read_dataset(events, items=ITEMS.select("id", "kind", "price"), min_item_events=2)
    assert dataset.item_table is not None
    assert dataset.item_table.frame["item_id"].to_list() == [1, 3]


def values(dataset: Dataset, column: str) -> list[list[int]]:
    found = ItemValues.of(dataset, column).take(torch.arange(dataset.num_items + 1))
    return [found.values[start:stop].tolist() for start, stop in pairwise(found.offsets.tolist())]


def test_equal_values_have_one_number_and_missing_ones_none(items: Dataset) -> None:
    nothing, one, two, three, four, nine = values(items, "kind")
    assert (nothing, four, nine) == ([], [], [])
    assert one == three != two
    assert [len(each) for each in values(items, "price")] == [0, 1, 1, 0, 0, 1]


@pytest.mark.parametrize(("column", "sizes"), [("tags", [0, 2, 1, 0, 0, 0]), ("labels", [0, 2, 1, 0, 0, 0])])
def test_lists_and_split_texts_have_several_values(items: Dataset, column: str, sizes: list[int]) -> None:
    found = values(items, column)
    assert [len(each) for each in found] == sizes
    assert set(found[2]) < set(found[1])


def test_a_cap_on_an_unknown_column_names_the_nearest(items: Dataset) -> None:
    with pytest.raises(RequestError, match="caps names 'knd'.*Did you mean 'kind'"):
        ItemValues.of(items, "knd")


def test_without_an_items_table_there_is_nothing_to_ask_for() -> None:
    dataset = read_dataset(EVENTS)
    for ask in (allowed_items, ItemValues.of):
        with pytest.raises(RequestError, match="without an items table"):
            ask(dataset, "price < 3")
