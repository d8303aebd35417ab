"""Items that are added to any index, replaced in it or removed from it count at once."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from tests.contracts.indexes.truth import best, check_form, overlap
from tests.contracts.indexes.vectors import QUERIES, WIDTH, small, unequal_lengths
from torch import Tensor

from shortlist.contracts import Filter
from shortlist.errors import SearchError


def test_added_items_are_found_at_once(settings: Any) -> None:
    index, _, vectors = small(settings)
    index.add(torch.tensor([1_000, 301]), torch.stack((vectors[0] * 9, vectors[1] * 9)))
    assert len(index) == 302
    assert index.search(vectors[:2], 1).items.tolist() == [[1_000], [301]]
    masked = torch.ones(1_001, dtype=torch.bool)
    masked[1_000] = False
    assert 1_000 not in index.search(vectors[:2], 302, filter=Filter(allowed=masked)).items
    listed = index.search(vectors[:1], 2, filter=Filter(allowed=torch.tensor([[1_000, 5]])))
    assert listed.items.tolist() == [[1_000, 5]]


def test_replaced_items_are_found_by_their_new_vectors_alone(settings: Any) -> None:
    index, _, vectors = small(settings)
    index.replace(torch.tensor([1]), -9 * vectors[:1])
    assert len(index) == 300
    assert 1 not in index.search(vectors[:1], 150).items
    assert index.search(-vectors[:1], 1).items.tolist() == [[1]]
    index.replace(torch.tensor([1]), 9 * vectors[:1])
    assert index.search(vectors[:1], 1).items.tolist() == [[1]]
    assert index.search(vectors[:1], 300).valid.sum() == 300


def test_removed_items_are_never_answered(settings: Any, queries: Tensor) -> None:
    index, items, vectors = small(settings)
    gone = torch.cat((torch.arange(2, 200), torch.tensor([300])))
    index.remove(gone)
    assert len(index) == 101
    left = ~torch.isin(items, gone)
    for k in (10, 101, 300):
        found = index.search(queries, k)
        assert not bool(torch.isin(found.items, gone).any())
        assert found.valid.sum(1).tolist() == [min(k, 101)] * QUERIES
    truth, _ = best(queries, items[left], vectors[left], 101)
    assert (index.search(queries, 101).items.numpy() == truth).mean() > 0.999
    everything = Filter(allowed=torch.ones(301, dtype=torch.bool))
    assert not bool(torch.isin(index.search(queries, 101, filter=everything).items, gone).any())
    assert not bool(index.search(queries[:1], 5, filter=Filter(allowed=gone[None])).valid.any())
    index.add(torch.tensor([2]), vectors[1:2])
    assert len(index) == 102
    index.remove(torch.cat((items[left], torch.tensor([2]))))
    assert not bool(index.search(queries, 5).valid.any())


def test_after_twice_the_catalogue_was_edited_it_finds_as_much(
    settings: Any, least_recall: float, queries: Tensor
) -> None:
    count, rounds = 1_800, 12
    vectors = unequal_lengths(count * 3)
    index = settings.build(torch.arange(1, count + 1), vectors[:count], queries=queries)
    step = count // 6
    for number in range(rounds):
        new = torch.arange(count + number * step + 1, count + (number + 1) * step + 1)
        index.add(new, vectors[new - 1])
        index.remove(new - count)
    last = torch.arange(2 * count + 1, 3 * count + 1)
    found = index.search(queries, 100)
    assert len(index) == count
    check_form(found, 100)
    assert overlap(found, best(queries, last, vectors[last - 1], 100)[0]) >= least_recall - 0.01


def test_readers_see_every_edit_whole(settings: Any, queries: Tensor) -> None:
    index, _, vectors = small(settings)
    pair, wrong, stop = torch.tensor([801, 802]), [], threading.Event()

    def read() -> None:
        while not stop.is_set():
            answered = set(index.search(vectors[:1], 3).items[0].tolist())
            if len(answered & {801, 802}) == 1 or len(answered) != 3:
                wrong.append(answered)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(50):
        index.add(pair, vectors[:1].repeat(2, 1) * 5)
        index.remove(pair)
    stop.set()
    for reader in readers:
        reader.join()
    assert not wrong


def test_an_edit_that_makes_no_sense_is_an_error_and_changes_nothing(settings: Any) -> None:
    index, _, _ = small(settings, 20)
    one = torch.ones(1, WIDTH)
    with pytest.raises(SearchError, match=r"1 of 1 items are in the index already, such as item 3.*replace"):
        index.add(torch.tensor([3]), one)
    with pytest.raises(SearchError, match=r"not in the index, such as item 21.*add"):
        index.replace(torch.tensor([21]), one)
    with pytest.raises(SearchError, match=r"1 of 2 items are not in the index, such as item 99"):
        index.remove(torch.tensor([1, 99]))
    with pytest.raises(SearchError, match="width 5"):
        index.add(torch.tensor([21]), torch.ones(1, 5))
    with pytest.raises(SearchError, match="NaN"):
        index.add(torch.tensor([21]), one * torch.nan)
    assert len(index) == 20
    assert index.search(one, 20).valid.sum() == 20


def test_what_can_be_answered_is_told_after_edits(settings: Any) -> None:
    index, items, vectors = small(settings)
    index.remove(items[:10])
    index.add(torch.tensor([900]), vectors[:1])
    alive, own = index.alive()
    order = alive.argsort()
    assert torch.equal(alive[order], torch.cat((items[10:], torch.tensor([900]))))
    assert torch.equal(own[order], torch.cat((vectors[10:], vectors[:1])))
