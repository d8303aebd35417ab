"""What an answer of any index looks like at the edges, and what it does not depend on."""

from __future__ import annotations

import threading
from typing import Any

import faiss
import torch
from tests.contracts.indexes.truth import best, check_form
from tests.contracts.indexes.vectors import ITEMS, QUERIES, WIDTH, gaussian, small
from torch import Tensor

from shortlist.contracts import Filter, ItemIndex


def test_more_than_the_catalogue_is_the_catalogue_and_empty_slots(settings: Any, queries: Tensor) -> None:
    index, items, vectors = small(settings, 30)
    found = index.search(queries, 50)
    check_form(found, 50)
    assert found.valid.sum(1).tolist() == [30] * QUERIES
    assert (found.items[:, :30].numpy() == best(queries, items, vectors, 30)[0]).mean() > 0.999


def test_one_item_is_found(settings: Any, queries: Tensor) -> None:
    index = settings.build(torch.tensor([7]), torch.ones(1, WIDTH))
    found = index.search(queries, 3)
    assert found.items.tolist() == [[7, 0, 0]] * QUERIES
    torch.testing.assert_close(found.scores[:, 0], queries.sum(1), rtol=1e-4, atol=1e-5)


def test_an_empty_index_answers_nothing_until_items_are_added(settings: Any, queries: Tensor) -> None:
    index = settings.build(torch.empty(0, dtype=torch.int64), torch.empty(0, WIDTH))
    assert len(index) == 0
    assert index.search(queries, 3).items.tolist() == [[0, 0, 0]] * QUERIES
    assert len(settings.restore(index.arrays())) == 0
    index.add(torch.tensor([4]), torch.ones(1, WIDTH))
    assert index.search(queries, 1).items.tolist() == [[4]] * QUERIES


def test_no_requests_are_no_answers(index: ItemIndex) -> None:
    assert index.search(torch.empty(0, WIDTH), 5).items.shape == (0, 5)


def test_an_answer_does_not_depend_on_the_others_in_the_batch(index: ItemIndex, items: Tensor, queries: Tensor) -> None:
    exclude = items[torch.arange(QUERIES * 7).reshape(QUERIES, 7) % ITEMS]
    exclude[:100, 2:] = 0
    exclude[:10] = 0
    together = index.search(queries, 40, filter=Filter(exclude=exclude))
    for row in (0, 17, 150, QUERIES - 1):
        alone = index.search(queries[row : row + 1], 40, filter=Filter(exclude=exclude[row : row + 1]))
        assert set(alone.items[0].tolist()) == set(together.items[row].tolist())
        torch.testing.assert_close(alone.scores[0], together.scores[row], rtol=1e-4, atol=1e-5)


def test_the_same_call_gives_the_same_answer(settings: Any, items: Tensor, vectors: Tensor, queries: Tensor) -> None:
    faiss.omp_set_num_threads(2)
    builds = [settings.build(items[:1_000], vectors[:1_000]) for _ in range(2)]
    first = builds[0].search(queries, 100)
    for other in (builds[0].search(queries, 100), builds[1].search(queries, 100)):
        assert torch.equal(first.items, other.items)
        assert torch.equal(first.scores, other.scores)
    faiss.omp_set_num_threads(1)


def test_several_threads_search_at_once_and_get_what_one_gets(index: ItemIndex, items: Tensor, queries: Tensor) -> None:
    mask = Filter(allowed=torch.arange(2 * ITEMS + 1) % 3 > 0)
    expected = [index.search(queries, 20), index.search(queries, 20, filter=mask)]
    different: list[int] = []

    def read(number: int) -> None:
        for _ in range(5):
            found = index.search(queries, 20, filter=None if number % 2 == 0 else mask)
            if not torch.equal(found.items, expected[number % 2].items):
                different.append(number)

    readers = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert not different


def test_what_the_caller_changes_later_does_not_reach_the_index(settings: Any, queries: Tensor) -> None:
    items, vectors = torch.arange(1, 101), gaussian(100)
    index = settings.build(items, vectors)
    before = index.search(queries, 10)
    items += 1
    vectors.zero_()
    after = index.search(queries, 10)
    assert torch.equal(before.items, after.items)
    assert torch.equal(before.scores, after.scores)


def test_other_types_and_layouts_are_taken(settings: Any, queries: Tensor) -> None:
    index = settings.build(torch.arange(1, 51, dtype=torch.int32), gaussian(50).to(torch.float64).T.contiguous().T)
    expected = index.search(queries, 5)
    for same in (queries.to(torch.float64), queries.T.contiguous().T, queries.clone().requires_grad_()):
        assert torch.equal(index.search(same, 5).items, expected.items)
    filters = Filter(allowed=torch.arange(51, dtype=torch.int32)[None].repeat(QUERIES, 1))
    assert torch.equal(index.search(queries, 5, filter=filters).items, expected.items)
