"""Every index comes back from its arrays, and refuses arrays that are not its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from tests.contracts.indexes.vectors import directions, small
from torch import Tensor

from shortlist.contracts import ItemIndex
from shortlist.errors import SearchError


def test_arrays_restore_an_index_that_answers_the_same(settings: Any, index: ItemIndex, queries: Tensor) -> None:
    arrays = load(save(index.arrays()))
    restored = settings.restore(arrays)
    before, after = index.search(queries, 100), restored.search(queries, 100)
    assert torch.equal(before.items, after.items)
    assert torch.equal(before.scores, after.scores)
    assert len(restored) == len(index)
    again = restored.arrays()
    assert again.keys() == arrays.keys()
    assert all(torch.equal(again[name], arrays[name]) for name in arrays)


def test_arrays_restore_edits_too(settings: Any, queries: Tensor) -> None:
    index, _, _ = small(settings)
    index.remove(torch.tensor([3, 4, 5]))
    index.add(torch.tensor([900, 3]), directions(2, seed=20))
    index.replace(torch.tensor([10, 900]), directions(2, seed=21))
    restored = settings.restore(load(save(index.arrays())))
    before, after = index.search(queries, 300), restored.search(queries, 300)
    assert torch.equal(before.items, after.items)
    torch.testing.assert_close(before.scores, after.scores)
    restored.remove(torch.tensor([900]))
    assert 900 not in restored.search(queries, 300).items


def test_every_array_has_to_be_there_and_of_its_type(settings: Any) -> None:
    arrays = small(settings)[0].arrays()
    for name in arrays:
        without = {other: array for other, array in arrays.items() if other != name}
        with pytest.raises(SearchError, match=name):
            settings.restore(without)
        with pytest.raises(SearchError, match=name):
            settings.restore(arrays | {name: arrays[name].to(torch.float16)})


def test_arrays_that_do_not_fit_together_are_refused(settings: Any) -> None:
    arrays = small(settings)[0].arrays()
    for name in ("items", "vectors"):
        with pytest.raises(SearchError):
            settings.restore(arrays | {name: arrays[name][:-1]})
    broken = arrays["vectors"].clone()
    broken[5, 1] = torch.nan
    with pytest.raises(SearchError, match="row 5"):
        settings.restore(arrays | {"vectors": broken})
    with pytest.raises(SearchError, match="once"):
        settings.restore(arrays | {"items": torch.ones_like(arrays["items"])})
