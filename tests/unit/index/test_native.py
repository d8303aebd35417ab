"""Bytes that only reach a library as they were written."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch

from shortlist.errors import MissingExtraError, SearchError
from shortlist.index.native import flat_index, optional_library, sealed, unsealed


@pytest.mark.parametrize("size", [0, 1, 1_000])
def test_what_was_sealed_comes_back(size: int) -> None:
    data = np.arange(size).astype(np.uint8)
    assert np.array_equal(unsealed({"codes": sealed(data)}, "codes"), data)


@pytest.mark.parametrize("place", [0, 31, 32, 500, 1_031])
def test_one_changed_byte_is_refused_wherever_it_is(place: int) -> None:
    whole = sealed(np.arange(1_000).astype(np.uint8))
    whole[place] ^= 4
    with pytest.raises(SearchError, match="'codes'.*not what was written"):
        unsealed({"codes": whole}, "codes")


@pytest.mark.parametrize("left", [0, 10, 32, 1_031])
def test_a_piece_of_it_is_refused(left: int) -> None:
    with pytest.raises(SearchError, match="not what was written"):
        unsealed({"codes": sealed(np.arange(1_000).astype(np.uint8))[:left]}, "codes")


def test_a_missing_library_is_named_with_its_extra() -> None:
    with pytest.raises(MissingExtraError, match=r'needs no_such_library.*pip install "shortlist\[extra\]"'):
        optional_library("no_such_library", extra="extra")


def test_faiss_reads_vectors_where_they_are() -> None:
    vectors = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    flat = flat_index(vectors)
    assert int(flat.get_xb()) == vectors.data_ptr()
    queries = vectors[:5] + 0.1
    scores, rows = flat.search(queries.numpy(), 4)
    expected = torch.topk(queries @ vectors.T, 4)
    assert rows.tolist() == expected.indices.tolist()
    torch.testing.assert_close(torch.from_numpy(scores), expected.values)
    del flat
    gc.collect()
    assert vectors.isfinite().all()  # they are still the tensor's
