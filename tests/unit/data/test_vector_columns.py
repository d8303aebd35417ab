"""Ready-made vectors: lists, arrays, texts and files; what is none is named with its row."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from shortlist.data import FeatureEncoder
from shortlist.data.vector_columns import read_vectors
from shortlist.errors import DataError
from shortlist.schema import Feature

LOOK = Feature("look", "vector", "item")
ROWS = [[1.0, 2.0, 3.0], None, [0.0, -1.0, 5.0]]


@pytest.mark.parametrize(
    "column",
    [
        pl.Series("look", ROWS),
        pl.Series("look", ROWS, dtype=pl.Array(pl.Float32, 3)),
        pl.Series("look", [[1, 2, 3], None, [0, -1, 5]]),
        pl.Series("look", ["[1, 2.0, 3]", "", " [0,-1,5]"]),
        pl.Series("look", ["[1, 2.0, 3]", None, "[0,-1,5]"], dtype=pl.Categorical),
    ],
)
def test_lists_arrays_and_texts_say_the_same(column):
    vectors, there = read_vectors(column)
    assert vectors.tolist() == [[1, 2, 3], [0, 0, 0], [0, -1, 5]]
    assert there.tolist() == [True, False, True]


def test_files_of_numpy_are_read(tmp_path):
    np.save(tmp_path / "a.npy", np.array([1.0, 2.0]))
    np.save(tmp_path / "b.npy", np.array([3, 4]))
    vectors, _ = read_vectors(pl.Series("look", [str(tmp_path / "a.npy"), str(tmp_path / "b.npy")]))
    assert vectors.tolist() == [[1, 2], [3, 4]]
    np.save(tmp_path / "flat.npy", np.zeros((2, 2)))
    np.save(tmp_path / "code.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "torn.npy").write_bytes(b"not numpy")
    for name, message in (
        ("flat", r"holds float64 of shape \(2, 2\), wanted numbers of shape \(V,\)"),
        ("code", "cannot be read from"),
        ("torn", "cannot be read from"),
        ("lost", r"row 2 cannot be read from .*lost\.npy \(looked from"),
    ):
        with pytest.raises(DataError, match=message):
            read_vectors(pl.Series("look", [str(tmp_path / "a.npy"), str(tmp_path / f"{name}.npy")]))


def test_they_are_standardised_as_a_whole_so_that_proportions_stay():
    encoder = FeatureEncoder.fit(pl.DataFrame({"look": [[0.0, 10.0], [2.0, 30.0]]}), (LOOK,))
    vectors = encoder.encode(pl.DataFrame({"look": [[0.0, 10.0], [2.0, 30.0], None]})).vectors
    torch.testing.assert_close(vectors[0], -vectors[1])
    assert float(vectors[1, 1] / vectors[1, 0]) == pytest.approx(10)
    assert float(vectors[:2].square().mean()) == pytest.approx(1)
    assert vectors[2].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([[1.0, 2.0], [1.0, 2.0], [1.0]], r"Feature 'look': the vector in row 3 has 1 numbers, where 2 are due"),
        ([[1.0], None, [], [2.0]], r"the vector in row 3 has 0 numbers, where 1 are due"),
        (
            [[1.0, 2.0], None, [0.0, float("nan")]],
            r"the vector in row 3 has nan as its number 2\. Numbers must be finite",
        ),
        ([[1.0, None], [0.0, 1.0]], r"row 1 has nan as its number 2"),
        ([[float("inf"), 2.0]], r"row 1 has inf as its number 1"),
        ([None, None], r"none of 2 rows has one\. Leave it out"),
        ([1.0, 2.0], r"the column holds Float64\. Give lists or arrays of numbers"),
        ([["a"], ["b"]], r"the column holds List\(String\)"),
        (["[1, 2", "[1, 2]"], r"row 1 is not a list of numbers such as \[0\.5, 1\]"),
        (["[1, 2]", '["a", 2]'], r"row 2 holds something that is no number"),
        (["[1]", "red"], r"row 2 is 'red'\. Give a list of numbers such as \[0\.5, 1\], or the path of a \.npy file"),
    ],
)
def test_what_is_no_vector_is_refused_with_its_row(column, message):
    with pytest.raises(DataError, match=message):
        FeatureEncoder.fit(pl.DataFrame({"look": column}), (LOOK,))


def test_a_later_vector_of_another_width_is_refused():
    encoder = FeatureEncoder.fit(pl.DataFrame({"look": [[0.0, 10.0], [2.0, 30.0]]}), (LOOK,))
    with pytest.raises(DataError, match=r"row 2 has 3 numbers, where 2 are due"):
        encoder.encode(pl.DataFrame({"look": [None, [1.0, 2.0, 3.0]]}))
