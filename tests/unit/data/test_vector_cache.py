"""Frozen vectors: made once, found again, shared between processes, and never believed when damaged."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest

import shortlist as sl
from shortlist.data import vector_cache
from shortlist.data.vector_cache import cache_folder, content_key, frozen_vectors
from shortlist.errors import DataError, SchemaError, SettingsError, ShortlistWarning

NUM = 200


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SHORTLIST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Counting:
    """An encoder that remembers what it was asked."""

    def __init__(self, width=3):
        self.width, self.asked = width, []

    def __call__(self, positions):
        self.asked += positions
        return [[float(position % 50)] * self.width for position in positions]


def keys(numbers):
    return [content_key(str(number % 50 if number < NUM else number).encode()) for number in numbers]


def spread(num):
    return [content_key(str(number).encode()) for number in range(num)]


def files(folder):
    return sorted(folder.rglob("*.safetensors"))


def test_equal_contents_are_embedded_once():
    encoder = Counting()
    found = frozen_vectors(keys(range(NUM)), encoder, identity=None)
    assert sorted(encoder.asked) == list(range(50))
    assert found[:, 0].tolist() == [number % 50 for number in range(NUM)]


def test_what_is_kept_is_not_made_again_and_only_what_is_new_is():
    first, second, other = Counting(), Counting(), Counting()
    made = frozen_vectors(spread(NUM), first, identity="a")
    again = frozen_vectors([*spread(NUM), content_key(b"new")], second, identity="a")
    assert np.array_equal(again[:NUM], made)
    assert second.asked == [NUM]
    frozen_vectors(spread(NUM), other, identity="b")
    assert len(other.asked) == NUM


def test_a_request_with_few_contents_leaves_nothing_behind(folder):
    frozen_vectors(spread(5), Counting(), identity="a")
    assert not folder.exists()


def test_what_was_made_before_an_interruption_is_kept(monkeypatch):
    monkeypatch.setattr(vector_cache, "BLOCK", 80)

    def interrupted(positions):
        if positions[0] >= 160:
            raise KeyboardInterrupt
        return Counting()(positions)

    with pytest.raises(KeyboardInterrupt):
        frozen_vectors(spread(NUM), interrupted, identity="a")
    rest = Counting()
    frozen_vectors(spread(NUM), rest, identity="a")
    assert rest.asked == list(range(160, NUM))


def test_a_damaged_file_is_deleted_said_and_made_again(folder):
    made = frozen_vectors(spread(NUM), Counting(), identity="a")
    (path,) = files(folder)
    path.write_bytes(path.read_bytes()[:50])
    encoder = Counting()
    with pytest.warns(ShortlistWarning, match="was damaged .* has been deleted"):
        assert np.array_equal(frozen_vectors(spread(NUM), encoder, identity="a"), made)
    assert len(encoder.asked) == NUM


def test_many_files_are_merged_into_one_and_leftovers_of_killed_writers_go(folder, monkeypatch):
    monkeypatch.setattr(vector_cache, "MOST_FILES", 3)
    monkeypatch.setattr(vector_cache, "LEAST", 1)
    for number in range(4):
        frozen_vectors([content_key(str(number).encode())], lambda _, n=number: [[float(n)]], identity="a")
    left = files(folder)[0].parent / ".left"
    left.write_bytes(b"half")
    os.utime(left, (time.time() - 7200,) * 2)
    assert frozen_vectors(spread(4), Counting(), identity="a")[:, 0].tolist() == [0, 1, 2, 3]
    assert len(files(folder)) == 1
    assert not left.exists()
    assert frozen_vectors(spread(4), Counting(), identity="a")[:, 0].tolist() == [0, 1, 2, 3]


def _work(start):
    numbers = range(start, start + 300)
    contents = [content_key(str(number).encode()) for number in numbers]
    for _ in range(5):
        found = frozen_vectors(contents, lambda chosen: [[float(start + place)] for place in chosen], identity="shared")
        if found[:, 0].tolist() != [float(number) for number in numbers]:
            raise AssertionError("another process's vectors")


def test_several_processes_share_it(folder):
    workers = [subprocess.Popen([sys.executable, __file__, str(start)]) for start in (0, 150)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    encoder = Counting()
    frozen_vectors([content_key(str(number).encode()) for number in range(450)], encoder, identity="shared")
    assert encoder.asked == []


def test_a_folder_that_refuses_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SHORTLIST_CACHE", str(tmp_path / "file"))
    with pytest.warns(ShortlistWarning, match="The vectors of 200 contents cannot be kept in"):
        frozen_vectors(spread(NUM), Counting(), identity="a")


@pytest.mark.parametrize(
    ("answer", "message"),
    [([1.0] * 70, r"shape \(70,\); wanted"), ([[1.0]], r"70 values with an array of shape \(1, 1\)"), ([[float("nan")]] * 70, "not finite")],
)  # fmt: skip
def test_an_answer_that_is_no_table_of_vectors_is_refused(answer, message):
    with pytest.raises(DataError, match=message):
        frozen_vectors(spread(70), lambda _: answer, identity="a")


def test_an_encoder_that_changed_its_width_is_named():
    frozen_vectors(spread(100), Counting(3), identity="a")
    with pytest.raises(DataError, match=r"gave vectors of 3 and of 4 numbers"):
        frozen_vectors(spread(120), Counting(4), identity="a")


def test_where_it_lies_by_default(tmp_path, monkeypatch):
    monkeypatch.delenv("SHORTLIST_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "shortlist"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "shortlist"


def test_a_function_makes_a_column_of_vectors_once(tmp_path):
    texts = [f"text {number}" for number in range(100)]
    frame = pl.DataFrame({"item_id": range(101), "note": [*texts, None]})
    asked = []

    def encoder(some):
        asked.extend(some)
        return np.array([[len(text), text.count("1")] for text in some])

    for _ in range(2):
        made = sl.embed_column(frame, column="note", encoder=encoder, keep_as="lengths")
    assert asked == texts
    assert made["note"].dtype == pl.Array(pl.Float32, 2)
    assert made["note"].to_list()[11:] == [[7, 2], *([float(len(text)), text.count("1")] for text in texts[12:]), None]
    dataset = sl.read_dataset(pl.DataFrame({"user_id": [1, 2], "item_id": [0, 5]}), items=made)
    assert dataset.item_features.layout.vectors == (2,)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"column": "nte"}, SchemaError, r"frame has no column 'nte'\. Columns found: note"),
        ({"column": "note", "kind": "sound"}, SettingsError, r"kind is 'sound'\. It is one of: text, image"),
        ({"column": "empty"}, SettingsError, r"Column 'empty' has nothing to embed: all 1 rows are empty"),
    ],
)
def test_a_column_that_cannot_be_embedded_is_named(arguments, kind, message):
    frame = pl.DataFrame({"note": ["a"], "empty": [None]}, schema={"note": pl.String, "empty": pl.String})
    with pytest.raises(kind, match=message):
        sl.embed_column(frame, encoder=len, **arguments)


if __name__ == "__main__":
    _work(int(sys.argv[1]))
