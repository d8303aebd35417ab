"""Outside ids to indices and back."""

from __future__ import annotations

import numpy as np
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
