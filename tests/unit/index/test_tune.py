"""Search settings from the recall asked for, on ladders whose recall is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from shortlist.contracts import Candidates
from shortlist.index.tune import Goal, cheapest, ladder

TRUTH = Candidates(torch.arange(1, 11).repeat(4, 1), torch.arange(10, 0, -1).float().repeat(4, 1))


def goal(wanted: float) -> Goal:
    return Goal(torch.zeros(4, 2), TRUTH, 10, wanted)


def finds(count: int) -> tuple[Tensor, Tensor]:
    """The best ``count`` of the true ten, for every query, as rows from 0."""
    scores, rows = TRUTH.scores.clone(), TRUTH.items - 1
    scores[:, count:], rows[:, count:] = -torch.inf, -1
    return scores, rows


def test_the_lowest_rung_that_finds_enough_is_taken() -> None:
    assert cheapest(goal(0.65), [[1, 3, 5, 7, 9]], finds, float) == (7, None)
    assert cheapest(goal(0.05), [[1, 3, 5, 7, 9]], finds, float) == (1, None)
    assert cheapest(goal(0.85), [[1, 3, 5, 7, 9]], finds, float) == (9, None)


def test_of_several_ladders_the_cheapest_way_up_is_taken_and_dear_rungs_are_not_tried() -> None:
    tried = []

    def search(rung: tuple[int, int]) -> tuple[Tensor, Tensor]:
        tried.append(rung)
        return finds(min(10, rung[0] * rung[1]))

    ladders = [[(width, depth) for width in range(1, 11)] for depth in (1, 5, 2)]
    best, short = cheapest(goal(0.95), ladders, search, lambda rung: rung[0] + 2.5 * rung[1])
    assert (best, short) == ((5, 2), None)  # 10: less than 12.5 of (10, 1) and 14.5 of (2, 5)
    assert all(width + 2.5 * depth <= 12.5 for width, depth in tried if depth != 1)


def test_where_nothing_reaches_it_the_best_is_given_with_what_it_finds() -> None:
    rung, found = cheapest(goal(0.95), [[2, 4], [3, 6]], finds, float)
    assert (rung, found) == (6, pytest.approx(0.6))


def test_a_mean_that_just_reaches_it_by_chance_is_not_enough() -> None:
    scores, rows = finds(10)
    scores[0], rows[0] = -torch.inf, -1  # three queries find all, one nothing: .75 on average, give or take .22
    assert goal(0.7).reached(scores, rows) == (pytest.approx(0.75), False)
    assert goal(0.5).reached(scores, rows)[1]


def test_half_of_the_queries_are_left_for_the_report() -> None:
    vectors = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    queries = torch.randn(21, 3, generator=torch.Generator().manual_seed(1))
    made = Goal.of(vectors, queries=queries, wanted=0.9, seed=0)
    assert torch.equal(made.queries, queries[::2])
    assert made.k == 50
    assert torch.equal(made.truth.items[:, 0] - 1, (queries[::2] @ vectors.T).argmax(1))


@pytest.mark.parametrize(("low", "high"), [(1, 1), (1, 2), (1, 1_024), (100, 6_400), (7, 5)])
def test_a_ladder_rises_to_its_end(low: int, high: int) -> None:
    rungs = ladder(low, high)
    assert rungs[-1] == high
    assert rungs == sorted(set(rungs))
    assert len(rungs) < 40
