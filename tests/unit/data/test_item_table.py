"""Tables and titles in layers are what the same rows in one piece are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from shortlist.data.item_table import ItemTable
from shortlist.data.titles import Titles
from shortlist.texts import Texts

BASE = pl.DataFrame({"item_id": [0, 1, 2], "name": ["a", None, "c"], "tags": [["x"], [], None]})


def told(places: list[int], word: str) -> pl.DataFrame:
    rows = {"item_id": places, "name": [f"{word}{place}" for place in places], "tags": [[word, "y"] for _ in places]}
    return pl.DataFrame(rows)


@pytest.mark.parametrize("tidied_from", [10_000, 20])
def test_many_later_rows_are_what_a_copy_with_them_is(monkeypatch: pytest.MonkeyPatch, tidied_from: int) -> None:
    monkeypatch.setattr("shortlist.data.item_table.TIDIED_FROM", tidied_from)
    draw = np.random.default_rng(0)
    table, rows = ItemTable(BASE), dict(enumerate(BASE.rows()))
    versions = []
    for step in range(150):
        known, new = len(rows), int(draw.integers(0, 2))
        places = np.concatenate((draw.permutation(known)[: draw.integers(1 - new, 3)], np.arange(known, known + new)))
        later = told(places.tolist(), f"w{step}-")
        table = table.plus(places, later) if len(places) else table
        rows = {**rows, **dict(zip(places.tolist(), later.rows(), strict=True))}
        versions.append((table, [rows[place] for place in range(len(rows))]))
    for found, wanted in versions[::10]:
        assert len(found) == len(wanted)
        assert found.frame.rows() == wanted
    asked = draw.integers(0, len(rows), 9)
    assert table.take(["name"], asked)["name"].to_list() == [rows[place][1] for place in asked.tolist()]
    assert table.select(["tags"]).columns == ["tags"]


def test_new_rows_alone_are_put_behind_without_a_map() -> None:
    table = ItemTable(BASE)
    for place in range(3, 300):
        table = table.plus(np.array([place]), told([place], "new"))
    assert table._place is None
    assert table._later.n_chunks() <= 64
    assert table.frame["item_id"].to_list() == list(range(300))


def test_columns_that_later_rows_lack_are_empty_and_others_left_out() -> None:
    later = pl.DataFrame({"colour": ["red"], "item_id": ["3"]})
    assert ItemTable(BASE).plus(np.array([3]), later).frame.rows()[-1] == (3, None, None)


def test_a_mapped_file_with_later_rows_is_written_whole_and_its_columns_are_read_once(tmp_path: Path) -> None:
    ItemTable(BASE).write(tmp_path / "first.parquet")
    mapped = ItemTable.stored(tmp_path / "first.parquet")
    (tmp_path / "first.parquet").unlink()
    later = mapped.plus(np.array([3, 1]), told([3, 1], "new"))
    assert later.take(["name"], np.array([1, 3, 0]))["name"].to_list() == ["new1", "new3", "a"]
    assert mapped.select(["name"])["name"].to_list() == ["a", None, "c"]
    assert set(later._first.known) == {"name"}  # which both have
    later.write(tmp_path / "second.parquet")
    assert set(later._first.known) == {"name"}
    wanted = [(0, "a", ["x"]), (1, "new1", ["new", "y"]), (2, "c", None), (3, "new3", ["new", "y"])]
    assert ItemTable.stored(tmp_path / "second.parquet").frame.rows() == later.frame.rows() == wanted


def test_titles_are_the_newest_ones() -> None:
    first = Titles(Texts.of(["a", "b"]))
    second = first.plus([(1, "B"), (3, "d")], count=5)
    third = second.plus([(0, "A")], count=5)
    assert tuple(map(tuple, (first, second, third))) == (("a", "b"), ("a", "B", "", "d", ""), ("A", "B", "", "d", ""))
    assert third[3] == "d"
    assert third[:2] == ("A", "B")
    assert third != ("A", "B", "", "d")
    with pytest.raises(IndexError):
        third[5]
