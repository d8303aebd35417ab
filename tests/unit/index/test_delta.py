"""Edits over a library that cannot be edited, and answers it leaves short."""

from __future__ import annotations

import torch
from torch import Tensor

from shortlist.contracts import Filter
from shortlist.index.delta import Among, Overlay, overlay
from shortlist.index.table import Table


class Forgetful:
    """A library that finds only the first ``finds`` of what it was asked for, and writes down every call."""

    def __init__(self, vectors: Tensor, *, finds: int, work: float = 0.0) -> None:
        self.vectors, self.finds, self.work = vectors, finds, work
        self.asked: list[tuple[int, int]] = []

    def nearest(self, queries: Tensor, k: int, *, spare: int, among: Among | None) -> tuple[Tensor, Tensor]:
        self.asked.append((len(queries), k))
        scores = queries @ self.vectors.T
        if among is not None:
            scores[:, ~among.rows] = -torch.inf
        best, rows = scores.topk(k, dim=1)
        best[:, self.finds :], rows[:, self.finds :] = -torch.inf, -1
        return best, rows

    def effort(self, k: int, *, spare: int, share: float) -> float:
        return self.work

    def arrays(self) -> dict[str, Tensor]:
        return {}


def made(num_items: int, *, finds: int, work: float = 0.0) -> tuple[Overlay, Forgetful]:
    """Items 1 to n on a line: item i has the vector [i]."""
    vectors = torch.arange(1, num_items + 1).float()[:, None]
    searcher = Forgetful(vectors, finds=finds, work=work)
    return overlay(Table.of(torch.arange(1, num_items + 1), vectors), searcher), searcher


UP = torch.ones(1, 1)


def test_an_answer_the_library_leaves_short_is_completed_exactly() -> None:
    state, _ = made(20, finds=2)
    assert state.search(UP, 5, Filter()).items.tolist() == [[20, 19, 18, 17, 16]]
    assert state.search(UP, 5, Filter(exclude=torch.tensor([[20, 18]]))).items.tolist() == [[19, 17, 16, 15, 14]]
    masked = torch.arange(21) < 4
    assert state.search(UP, 5, Filter(allowed=masked)).items.tolist() == [[3, 2, 1, 0, 0]]


def test_a_complete_answer_of_the_library_is_taken() -> None:
    state, searcher = made(20, finds=20)
    assert state.search(UP, 3, Filter()).items.tolist() == [[20, 19, 18]]
    assert searcher.asked == [(1, 3)]


def test_requests_ask_for_as_many_more_as_they_exclude() -> None:
    state, searcher = made(100, finds=100)
    exclude = torch.zeros(3, 8, dtype=torch.int64)
    exclude[1, :8] = torch.arange(93, 101)
    exclude[2, 0] = 5
    found = state.search(UP.repeat(3, 1), 2, Filter(exclude=exclude))
    assert found.items.tolist() == [[100, 99], [92, 91], [100, 99]]
    assert sorted(searcher.asked) == [(1, 2), (1, 3), (1, 10)]


def test_excluded_items_that_are_not_here_cost_nothing() -> None:
    state, searcher = made(10, finds=10)
    state.search(UP, 2, Filter(exclude=torch.tensor([[50, 60, 0]])))
    assert searcher.asked == [(1, 2)]


def test_where_the_library_would_score_as_many_it_is_not_asked() -> None:
    state, searcher = made(20, finds=20, work=20)
    assert state.search(UP, 2, Filter(allowed=torch.arange(21) < 10)).items.tolist() == [[9, 8]]
    assert searcher.asked == []
    state.search(UP, 2, Filter())  # without a filter the index is what was asked for
    assert searcher.asked == [(1, 2)]


def test_an_edit_leaves_the_state_before_it_as_it_was() -> None:
    before, _ = made(5, finds=5)
    added = before.plus(torch.tensor([9, 2]), torch.tensor([[9.0], [2.5]]))
    removed = added.minus(torch.tensor([5, 9]))
    assert before.search(UP, 3, Filter()).items.tolist() == [[5, 4, 3]]
    assert added.search(UP, 3, Filter()).items.tolist() == [[9, 5, 4]]
    assert added.search(UP, 6, Filter()).scores.tolist() == [[9, 5, 4, 3, 2.5, 1]]
    assert removed.search(UP, 5, Filter()).items.tolist() == [[4, 3, 2, 1, 0]]
    assert (len(before), len(added), len(removed)) == (5, 6, 4)
    assert (before.num_edits, added.num_edits, removed.num_edits) == (0, 3, 3)
    assert sorted(removed.alive()[0].tolist()) == [1, 2, 3, 4]


def test_a_filter_covers_what_was_added() -> None:
    state = made(5, finds=5)[0].plus(torch.tensor([7, 8]), torch.tensor([[7.0], [8.0]]))
    assert state.search(UP, 2, Filter(exclude=torch.tensor([[8, 5]]))).items.tolist() == [[7, 4]]
    assert state.search(UP, 2, Filter(allowed=torch.tensor([[2, 7]]))).items.tolist() == [[7, 2]]
    assert state.search(UP, 2, Filter(allowed=torch.arange(9) != 7)).items.tolist() == [[8, 5]]
