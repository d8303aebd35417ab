"""Every index applies filters before the cut to k, so that no answer is short."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.contracts.indexes.truth import best, check_form, overlap
from tests.contracts.indexes.vectors import ITEMS, QUERIES
from torch import Tensor

from shortlist.contracts import Filter, ItemIndex


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1, 0.01, 0.001])
def test_a_mask_lets_only_its_items_pass_and_no_answer_is_short(
    index: ItemIndex, least_recall: float, items: Tensor, vectors: Tensor, queries: Tensor, share: float
) -> None:
    allowed = torch.rand(2 * ITEMS + 1, generator=torch.Generator().manual_seed(11)) < share
    for batch in (queries, queries[:1]):
        found = index.search(batch, 50, filter=Filter(allowed=allowed))
        check_form(found, 50)
        assert bool(allowed[found.items[found.valid]].all())
        num_eligible = int(allowed[items].sum())
        assert found.valid.sum(1).tolist() == [min(50, num_eligible)] * len(batch)
    found = index.search(queries, 50, filter=Filter(allowed=allowed))
    truth, _ = best(queries, items, vectors, 50, allowed[items].numpy()[None, :].repeat(QUERIES, 0))
    assert overlap(found, truth) >= least_recall - 0.02


@pytest.mark.parametrize("length", [0, 3, 30, 2_000])
def test_lists_of_allowed_items_are_searched_exactly(
    index: ItemIndex, items: Tensor, vectors: Tensor, queries: Tensor, length: int
) -> None:
    allowed = torch.randint(0, 2 * ITEMS + 1, (QUERIES, length), generator=torch.Generator().manual_seed(12))
    found = index.search(queries, 20, filter=Filter(allowed=allowed))
    check_form(found, 20)
    eligible = np.stack([np.isin(items.numpy(), row) for row in allowed.numpy()])
    truth, scores = best(queries, items, vectors, 20, eligible)
    assert (found.items.numpy() == truth).mean() > 0.999  # rounding may swap neighbours
    np.testing.assert_allclose(found.scores.numpy(), scores, rtol=1e-4, atol=1e-4)


def test_excluded_items_make_room_for_the_next_best(
    index: ItemIndex, least_recall: float, items: Tensor, vectors: Tensor, queries: Tensor
) -> None:
    truth, _ = best(queries, items, vectors, 150)
    exclude = torch.from_numpy(truth[:, :100]).clone()
    for row in range(QUERIES):
        exclude[row, row % 100 :] = 0  # every request excludes another number of its best
    found = index.search(queries, 50, filter=Filter(exclude=exclude))
    check_form(found, 50)
    assert bool(found.valid.all())
    for row in range(QUERIES):
        assert not set(found.items[row].tolist()) & set(exclude[row].tolist())
    expected = np.stack([truth[row, row % 100 :][:50] for row in range(QUERIES)])
    assert overlap(found, expected) >= least_recall - 0.02


def test_masks_lists_and_exclusions_combine(index: ItemIndex, items: Tensor, vectors: Tensor, queries: Tensor) -> None:
    chosen = items[torch.randperm(ITEMS, generator=torch.Generator().manual_seed(13))[:60]]
    mask = torch.zeros(2 * ITEMS + 1, dtype=torch.bool)
    mask[chosen] = True
    exclude = chosen[None, :20].repeat(QUERIES, 1)
    eligible = torch.isin(items, chosen[20:]).numpy()[None].repeat(QUERIES, 0)
    _, scores = best(queries, items, vectors, 50, eligible)
    for allowed in (mask, chosen[None].repeat(QUERIES, 1)):
        found = index.search(queries, 50, filter=Filter(allowed=allowed, exclude=exclude))
        check_form(found, 50)
        np.testing.assert_allclose(found.scores.numpy(), scores, rtol=1e-4, atol=1e-4)
        assert found.valid.sum(1).tolist() == [40] * QUERIES


def test_nothing_allowed_is_an_empty_answer(index: ItemIndex, items: Tensor, queries: Tensor) -> None:
    nothing = Filter(allowed=torch.zeros(2 * ITEMS + 1, dtype=torch.bool))
    everything_excluded = Filter(exclude=items[None].repeat(4, 1))
    for filter in (nothing, everything_excluded):
        found = index.search(queries[:4], 7, filter=filter)
        check_form(found, 7)
        assert not bool(found.valid.any())
