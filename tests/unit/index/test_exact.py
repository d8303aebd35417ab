"""Exact search where its paths differ: many or few requests, many or few items, long or short lists."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from shortlist.contracts import Filter
from shortlist.index import Exact


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("num_items", [1, 7, 8, 9, 160, 2_001])
@pytest.mark.parametrize("num_queries", [1, 15, 16, 333])
@pytest.mark.parametrize("k", [1, 10, 90])
def test_the_best_are_those_a_full_sort_puts_first(num_items: int, num_queries: int, k: int) -> None:
    # Small whole numbers: sums are exact in float32, so that scores can be compared bit for bit.
    vectors = torch.randint(-9, 10, (num_items, 6), generator=torch.Generator().manual_seed(1)).float()
    queries = torch.randint(-9, 10, (num_queries, 6), generator=torch.Generator().manual_seed(2)).float()
    items = torch.arange(1, num_items + 1)
    found = Exact().build(items, vectors).search(queries, k)
    scores = queries.numpy() @ vectors.numpy().T
    expected = -np.sort(-scores, axis=1)[:, :k]
    assert np.array_equal(found.scores[:, : expected.shape[1]].numpy(), expected)
    kept = found.items[:, : expected.shape[1]]
    assert np.array_equal(np.take_along_axis(scores, kept.numpy() - 1, 1), expected)
    assert not bool(found.items[:, num_items:].any())


def test_blocks_of_requests_give_what_one_request_gives() -> None:
    vectors, queries = random(3_000, 8), random(6_500, 8, seed=1)  # more requests than one block of scores holds
    index = Exact().build(torch.arange(1, 3_001), vectors)
    exclude = torch.randint(0, 3_001, (6_500, 5), generator=torch.Generator().manual_seed(2))
    together = index.search(queries, 10, filter=Filter(exclude=exclude))
    for row in (0, 1_500, 6_499):
        alone = index.search(queries[row : row + 1], 10, filter=Filter(exclude=exclude[row : row + 1]))
        assert alone.items[0].tolist() == together.items[row].tolist()


@pytest.mark.parametrize("num_items", [50, 5_000])  # all items are scored, or the lists alone
def test_an_item_listed_twice_is_answered_once(num_items: int) -> None:
    index = Exact().build(torch.arange(1, num_items + 1), random(num_items, 4))
    allowed = torch.tensor([[9, 9, 0, 4, 9, 4], [0, 0, 0, 0, 0, 0]])
    found = index.search(random(2, 4, seed=1), 4, filter=Filter(allowed=allowed))
    assert sorted(found.items[0].tolist()) == [0, 0, 4, 9]
    assert found.items[1].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("num_items", [50, 5_000])
def test_items_the_index_has_never_heard_of_are_passed_over(num_items: int) -> None:
    index = Exact().build(torch.arange(1, num_items + 1), random(num_items, 4))
    query = random(1, 4, seed=1)
    found = index.search(query, 3, filter=Filter(allowed=torch.tensor([[7, 1_000_000, 8]])))
    assert sorted(found.items[0].tolist()) == [0, 7, 8]
    excluded = Filter(exclude=torch.tensor([[1_000_000, num_items + 1]]))
    assert torch.equal(index.search(query, 3, filter=excluded).items, index.search(query, 3).items)


def test_items_keep_their_names_when_indices_have_gaps() -> None:
    index = Exact().build(torch.tensor([900, 3, 77]), torch.tensor([[1.0], [2.0], [3.0]]))
    assert index.search(torch.tensor([[1.0], [-1.0]]), 3).items.tolist() == [[77, 3, 900], [900, 3, 77]]


def test_negative_scores_are_answers_and_not_empty_slots() -> None:
    index = Exact().build(torch.tensor([1, 2]), torch.tensor([[-5.0], [-7.0]]))
    found = index.search(torch.tensor([[1.0]]), 2)
    assert found.items.tolist() == [[1, 2]]
    assert found.scores.tolist() == [[-5.0, -7.0]]


def test_vectors_made_under_inference_mode_can_be_edited_later() -> None:
    with torch.inference_mode():
        index = Exact().build(torch.arange(1, 21), random(20, 4))
        index.search(random(30, 4), 5)
    index.remove(torch.tensor([3]))
    index.add(torch.tensor([3]), random(1, 4))
    assert index.search(random(30, 4), 5, filter=Filter(exclude=torch.ones(30, 1, dtype=torch.int64))).valid.all()


@pytest.mark.parametrize("first", [1, 500])
def test_a_mask_means_the_same_after_the_last_and_the_first_were_removed(first: int) -> None:
    index = Exact().build(torch.arange(first, first + 40), random(40, 4))
    index.remove(torch.tensor([first, first + 39]))
    for share in (0.2, 0.9):  # scored alone, or scored with the others
        allowed = torch.rand(first + 39, generator=torch.Generator().manual_seed(3)) < share
        found = index.search(random(20, 4, seed=1), 40, filter=Filter(allowed=allowed))
        expected = [item for item in range(first + 1, first + 39) if bool(allowed[item])]
        assert [sorted(row) for row in found.items.tolist()] == [sorted([*expected, *[0] * (40 - len(expected))])] * 20
