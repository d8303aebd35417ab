"""Tails grow in place, every one shows its own rows, and lookups find rows wherever they lie."""

from __future__ import annotations

import copy
import threading

import pytest
import torch

from shortlist.rows import Tail, taken


def test_longer_tails_share_the_memory_of_shorter_ones() -> None:
    tails = [Tail(torch.zeros(0, 3)).plus(torch.zeros(1, 3))]
    for step in range(1, 50):
        tails.append(tails[-1].plus(torch.full((1, 3), float(step))))
    assert len({tail.rows.data_ptr() for tail in tails}) == 1
    for length, tail in enumerate(tails, start=1):
        assert tail.rows[:, 0].tolist() == list(range(length))


def test_a_tail_that_outgrows_its_memory_is_copied_and_nothing_is_lost() -> None:
    tail = Tail(torch.tensor([0]))
    for step in range(1, 1_000):
        tail = tail.plus(torch.tensor([step]))
    assert tail.rows.tolist() == list(range(1_000))


def test_two_continuations_of_one_tail_do_not_meet() -> None:
    common = Tail(torch.tensor([1])).plus(torch.tensor([2]))
    first, second = common.plus(torch.tensor([3, 4])), common.plus(torch.tensor([5]))
    third = first.plus(torch.tensor([6]))
    assert common.rows.tolist() == [1, 2]
    assert first.rows.tolist() == [1, 2, 3, 4]
    assert second.rows.tolist() == [1, 2, 5]
    assert third.rows.tolist() == [1, 2, 3, 4, 6]


def test_threads_that_add_to_one_tail_at_once_get_a_tail_each() -> None:
    common, found = Tail(torch.tensor([0])).plus(torch.tensor([0])), list[tuple[int, Tail]]()

    def add(number: int) -> None:
        tail = common
        for _ in range(100):
            tail = tail.plus(torch.tensor([number]))
        found.append((number, tail))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    for number, tail in found:
        assert tail.rows.tolist() == [0, 0, *[number] * 100]


def test_a_tail_begun_in_inference_mode_grows_outside_of_it_and_the_reverse() -> None:
    with torch.inference_mode():
        tail = Tail(torch.ones(1)).plus(torch.ones(1))
    tail = tail.plus(torch.zeros(1))
    with torch.inference_mode():
        tail = tail.plus(torch.ones(1))
    assert tail.plus(torch.zeros(1)).rows.tolist() == [1, 1, 0, 1, 0]


def test_a_deep_copy_is_apart() -> None:
    tail = Tail(torch.tensor([1])).plus(torch.tensor([2]))
    other = copy.deepcopy(tail).plus(torch.tensor([3]))
    assert tail.plus(torch.tensor([4])).rows.tolist() == [1, 2, 4]
    assert other.rows.tolist() == [1, 2, 3]


@pytest.mark.parametrize("shape", [(6,), (2, 3), (0,)])
def test_rows_are_found_in_the_base_and_in_the_tail(shape: tuple[int, ...]) -> None:
    whole = torch.arange(20.0).view(10, 2)
    places = torch.randint(0, 10, shape, generator=torch.Generator().manual_seed(0))
    for cut in (1, 6, 10):
        assert torch.equal(taken(whole[:cut], whole[cut:], places), whole[places])
    assert torch.equal(taken(whole, None, places), whole[places])
