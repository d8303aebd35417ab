"""Filters for libraries that know none."""

from __future__ import annotations

import torch
from torch import Tensor

from shortlist.contracts import Filter
from shortlist.index.delta import Among, overlay
from shortlist.index.overfetch import Overfetching
from shortlist.index.table import Table

UP = torch.ones(2, 1)


class Line:
    """Row i has the score i; it finds all that it is asked for, and writes down for how many it was asked."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.count

    def nearest(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        self.asked.append(k)
        scores, rows = torch.arange(self.count).float().topk(k)
        return scores.repeat(len(queries), 1), rows.repeat(len(queries), 1)

    def effort(self, k: int) -> float:
        return float(k)

    def arrays(self) -> dict[str, Tensor]:
        return {}


def test_without_a_filter_it_is_asked_for_what_is_wanted() -> None:
    library = Line(1_000)
    _, rows = Overfetching(library).nearest(UP, 3, spare=0, among=None)
    assert rows.tolist() == [[999, 998, 997]] * 2
    assert library.asked == [3]
    assert Overfetching(library).effort(3, spare=0, share=1) == 3


def test_under_a_filter_it_finds_more_and_leaves_some_out() -> None:
    library = Line(1_000)
    scores, rows = Overfetching(library).nearest(UP, 3, spare=0, among=Among(torch.arange(1_000) % 10 == 0))
    assert rows.tolist() == [[990, 980, 970]] * 2
    assert scores.tolist() == [[990, 980, 970]] * 2
    assert 30 <= library.asked[0] < 100
    assert Overfetching(library).effort(3, spare=0, share=0.1) == library.asked[0]


def test_what_was_not_found_is_an_empty_slot_and_the_overlay_completes_it() -> None:
    low = Among(torch.arange(1_000) < 100)  # the filter lets pass what is found last
    scores, rows = Overfetching(Line(1_000)).nearest(UP, 3, spare=0, among=low)
    assert rows.tolist() == [[-1, -1, -1]] * 2
    assert scores.tolist() == [[-torch.inf] * 3] * 2
    items = torch.arange(1, 1_001)
    state = overlay(Table.of(items, items.float()[:, None] - 1), Overfetching(Line(1_000)))
    found = state.search(UP, 3, Filter(allowed=torch.arange(1_001) <= 100))
    assert found.items.tolist() == [[100, 99, 98]] * 2


def test_it_is_never_asked_for_more_than_there_is() -> None:
    library = Line(20)
    Overfetching(library).nearest(UP, 2, spare=0, among=Among(torch.arange(20) < 2))
    assert library.asked == [20]
