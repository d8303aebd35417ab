"""Bytes that only reach a library as they were written."""

from __future__ import annotations

import gc

import faiss
import numpy as np
import pytest
import torch

from shortlist.errors import MissingExtraError, SearchError
from shortlist.index.native import optional_library, sealed, shared_vectors, unsealed


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


def test_shared_vectors_are_faiss_s_own_and_outlive_its_index() -> None:
    flat = faiss.IndexFlatIP(3)
    vectors = np.arange(12, dtype=np.float32).reshape(4, 3)
    flat.add(vectors)
    shared = shared_vectors(flat, owner=flat)
    assert shared.data_ptr() == int(flat.get_xb())
    del flat
    gc.collect()
    assert torch.equal(shared, torch.from_numpy(vectors))
