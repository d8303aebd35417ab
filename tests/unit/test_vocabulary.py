"""Outside ids to indices and back."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from shortlist.errors import DataError
from shortlist.vocabulary import Vocabulary


@pytest.mark.parametrize("ids", [[30, 10, 20], ["b", "a", "ü"], np.array([7, -1]), np.array(["x", "y"])])
def test_what_is_encoded_is_decoded(ids: list[object]) -> None:
    vocabulary = Vocabulary(ids)
    assert vocabulary.decode(vocabulary.encode(ids)).tolist() == list(ids)
    assert vocabulary.encode(ids).tolist() == list(range(1, len(ids) + 1))


def test_unknown_ids_have_index_0() -> None:
    assert Vocabulary([1, 2]).encode([2, 3, None, "x", "2"]).tolist() == [2, 0, 0, 0, 2]
    assert Vocabulary(["1", "b"]).encode([1, "b", 2.5]).tolist() == [1, 2, 0]


def test_index_0_has_no_id() -> None:
    with pytest.raises(DataError, match="from 1 to 2"):
        Vocabulary([5, 6]).decode([0, 1])


def test_new_ids_follow_the_known_ones() -> None:
    grown = Vocabulary(["b", "a"]).extend(["c", "a", "c", "d"])
    assert grown.ids.tolist() == ["b", "a", "c", "d"]


def test_ids_are_of_one_kind_and_come_once() -> None:
    with pytest.raises(DataError, match="int, str"):
        Vocabulary([1, "a"])
    with pytest.raises(DataError, match="1 ids come again"):
        Vocabulary([1, 2, 1])


def test_text_that_is_nearly_a_number_is_no_id_of_numbers() -> None:
    assert Vocabulary([5, -5]).encode(["-5", "5", "--5", "-", "", "5-", "+5"]).tolist() == [2, 1, 0, 0, 0, 0, 0]


EXTREMES = [0, -1, 1, 2**63 - 1, -(2**63), 2**62, 10**18, *(7 << shift for shift in range(60))]
ODD_TEXTS = [
    "",
    "a",
    "A",
    " a",
    "é",
    "e\u0301",
    "日本",
    "\ud800",
    "a\0",
    "x" * 5_000,
    "plumless",
    "buckeroo",
]  # two of one CRC-32


@pytest.mark.parametrize("ids", [EXTREMES, ODD_TEXTS], ids=["integers", "texts"])
def test_ids_of_all_sorts_are_told_apart(ids: list[Any]) -> None:
    vocabulary = Vocabulary(ids)
    for asked in (ids, ids * 10):  # some are looked up one by one, many at once
        assert vocabulary.encode(asked).tolist() == [ids.index(each) + 1 for each in asked]
        assert vocabulary.decode(vocabulary.encode(asked)).tolist() == asked


@pytest.mark.parametrize("kind", [int, str])
def test_many_ids_are_found_as_in_a_dictionary(kind: Callable[[int], Any]) -> None:
    draw = random.Random(0)
    ids = [kind(number) for number in draw.sample(range(10**9), 20_000)]
    known = {each: place for place, each in enumerate(ids[:10_000], start=1)}
    vocabulary, asked = Vocabulary(list(known)), draw.choices(ids, k=5_000)
    expected = [known.get(each, 0) for each in asked]
    assert vocabulary.encode(asked).tolist() == expected
    assert vocabulary.encode(np.array(asked)).tolist() == expected
    assert [vocabulary.encode([each])[0] for each in asked[:500]] == expected[:500]
    assert [each in vocabulary for each in asked[:500]] == [place > 0 for place in expected[:500]]


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        ("7", 1), ("-3", 2), (7.0, 1), (np.int32(7), 1), (np.float64(7), 1), (True, 3), ("07", 1),
        ("--3", 0), ("-", 0), ("7.0", 0), ("²", 0), ("9" * 5_000, 0), (2**64 + 7, 0), (7.5, 0), (float("nan"), 0),
        (float("inf"), 0), (None, 0), ([7], 0), (b"7", 0),
    ],
)  # fmt: skip
def test_integers_in_other_words_are_found_and_nonsense_is_not(asked: object, index: int) -> None:
    vocabulary = Vocabulary([7, -3, 1])
    assert vocabulary.encode([asked]).tolist() == [index]
    assert vocabulary.encode([asked] * 200).tolist() == [index] * 200
    assert (asked in vocabulary) == (index > 0)


@pytest.mark.parametrize(("asked", "index"), [(7, 1), (np.int64(7), 1), (7.0, 0), (None, 0), (["7"], 0), (b"7", 0)])
def test_texts_in_other_words_are_found_and_nonsense_is_not(asked: object, index: int) -> None:
    vocabulary = Vocabulary(["7", "b"])
    assert vocabulary.encode([asked]).tolist() == [index]
    assert vocabulary.encode([asked] * 200).tolist() == [index] * 200


@pytest.mark.parametrize("kind", [int, str])
def test_a_vocabulary_that_grew_bit_by_bit_is_the_one_made_at_once(kind: Callable[[int], Any]) -> None:
    ids = [kind(number) for number in random.Random(0).sample(range(10**9), 3_000)]
    grown = Vocabulary(ids[:1_000])
    for place in range(1_000, 1_200):
        grown = grown.extend([ids[place - 1], ids[place]])
    grown = grown.extend(ids[:3_000])
    whole = Vocabulary(ids)
    assert grown == whole
    assert hash(grown) == hash(whole)
    assert grown.ids.tolist() == ids
    assert grown.encode(ids).tolist() == list(range(1, 3_001))
    assert [int(grown.encode([each])[0]) for each in ids[::300]] == list(range(1, 3_001, 300))
    assert grown.decode([[1, 3_000], [1_100, 1]]).tolist() == [[ids[0], ids[-1]], [ids[1_099], ids[0]]]
    assert grown != whole.extend([kind(10**9)])
    assert grown != Vocabulary(ids[::-1])


def test_growing_by_a_few_ids_shares_the_many_there_are() -> None:
    vocabulary = Vocabulary(np.arange(100_000))
    grown = vocabulary.extend([100_000])
    assert vocabulary.extend([5, 7]) is vocabulary
    assert np.shares_memory(grown._parts[0].arrays()["ids"], vocabulary.ids)
    assert (len(vocabulary), len(grown)) == (100_000, 100_001)


def test_nothing_grows_into_ids_of_any_kind() -> None:
    assert Vocabulary([]).extend(["a", "a"]).ids.tolist() == ["a"]
    assert Vocabulary([]).extend([3]).ids.tolist() == [3]
    assert Vocabulary([]) == Vocabulary([])
    assert Vocabulary([]).encode(["a", 1]).tolist() == [0, 0]
    with pytest.raises(DataError, match="int, str"):
        Vocabulary(["a"]).extend([1])


@pytest.mark.parametrize("ids", [[], [5, 3], ["b", "ü", ""]])
def test_the_same_comes_of_its_arrays(ids: list[Any]) -> None:
    vocabulary = Vocabulary(ids)
    again = Vocabulary.of_arrays(vocabulary.arrays())
    assert again == vocabulary
    assert again.encode([*ids, 99]).tolist() == [*range(1, len(ids) + 1), 0]
    grown = Vocabulary(ids[:1]).extend(ids)
    assert Vocabulary.of_arrays(grown.arrays()) == vocabulary


def _slots(*values: int) -> npt.NDArray[np.int32]:
    return np.array(values, dtype=np.int32)


@pytest.mark.parametrize(
    "change",
    [
        {"slots": _slots(1, 1, 2, 2)},  # none is free: a search would not end
        {"slots": _slots(1, 2, 0)},
        {"slots": _slots(9, 0, 0, 0)},
        {"slots": _slots(-1, 0, 0, 0)},
        {"slots": _slots()},
        {"slots": np.zeros(4)},
        {"texts": np.zeros((2, 2), dtype=np.uint8)},
        {"offsets": np.array([0, 5, 2])},
        {"offsets": np.array([0, 1])},
        {"offsets": np.array([1, 1, 2])},
        {"offsets": np.array([], dtype=np.int64)},
    ],
)
def test_arrays_that_make_no_sense_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"slots|offsets|dimensions"):
        Vocabulary.of_arrays(Vocabulary(["a", "b"]).arrays() | change)


@pytest.mark.parametrize("ids", [["b", "Süd", "a"], [3, 1, 2**40], []])
def test_a_column_of_different_ids_makes_the_vocabulary_of_its_values(ids: list[Any]) -> None:
    column = pl.Series(ids, dtype=pl.Int64 if ids and isinstance(ids[0], int) else pl.String)
    known = Vocabulary.of_distinct(column)
    assert known.decode(range(1, len(ids) + 1)).tolist() == ids
    assert known.encode([*ids, "none", 7]).tolist() == [*range(1, len(ids) + 1), 0, 0]
    if ids:
        arrays, others = known.arrays(), Vocabulary(ids).arrays()
        assert arrays.keys() == others.keys()
        assert all(np.array_equal(arrays[name], others[name]) for name in arrays)
