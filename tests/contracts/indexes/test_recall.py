"""Every index finds as much of what brute force finds as it must, and reports how much that is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.contracts.indexes.truth import best, check_form, check_scores, overlap
from tests.contracts.indexes.vectors import ITEMS, WIDTH, clustered, few_strong_dimensions, many_equal, unequal_lengths
from torch import Tensor

from shortlist.contracts import ItemIndex


def test_finds_what_brute_force_finds(
    index: ItemIndex, least_recall: float, items: Tensor, vectors: Tensor, queries: Tensor
) -> None:
    found = index.search(queries, 100)
    check_form(found, 100)
    check_scores(found, queries, items, vectors)
    truth, scores = best(queries, items, vectors, 100)
    assert overlap(found, truth) >= least_recall
    if least_recall == 1:
        np.testing.assert_allclose(found.scores.numpy(), scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "count"), [(unequal_lengths, ITEMS), (clustered, 2_000), (few_strong_dimensions, 2_000)]
)
def test_finds_as_much_whatever_the_vectors_look_like(
    settings: Any, least_recall: float, items: Tensor, queries: Tensor, make: Any, count: int
) -> None:
    vectors = make(count)
    found = settings.build(items[:count], vectors, queries=queries).search(queries, 100)
    check_scores(found, queries, items[:count], vectors)
    assert overlap(found, best(queries, items[:count], vectors, 100)[0]) >= least_recall


def test_many_equal_vectors_are_all_findable(
    settings: Any, least_recall: float, items: Tensor, queries: Tensor
) -> None:
    items, vectors = items[:2_000], many_equal(2_000)
    near = vectors[:1] + 0.1 * queries
    found = settings.build(items, vectors, queries=near).search(near, 100)
    check_form(found, 100)
    _, scores = best(near, items, vectors, 100)
    assert (found.scores.numpy() >= scores[:, -1:] - 1e-3).mean() >= least_recall


@pytest.mark.parametrize("k", [1, 10, 400])
def test_any_k_is_answered_as_well(
    index: ItemIndex, least_recall: float, items: Tensor, vectors: Tensor, queries: Tensor, k: int
) -> None:
    found = index.search(queries, k)
    check_form(found, k)
    assert overlap(found, best(queries, items, vectors, k)[0]) >= least_recall - 0.02


def test_every_build_reports_recall_speed_and_size(settings: Any, index: Any, least_recall: float) -> None:
    report = index.report
    assert report.items == ITEMS
    assert report.recall >= least_recall
    assert 0 < report.p50_ms <= report.p99_ms
    assert report.queries_per_s > 0
    assert report.build_s > 0
    assert report.bytes_per_item >= 4 * WIDTH
    assert type(settings).__name__ in str(report)
    assert index.report is report


def test_a_sweep_holds_exact_search_and_the_index_as_it_is_searched(index: ItemIndex) -> None:
    points = index.sweep()
    exact = [point for point in points if point.setting == "exact"]
    assert [point.recall for point in exact] == [1.0]
    used = [point for point in points if point.is_used]
    assert [point.recall for point in used] == pytest.approx([index.report.recall])  # type: ignore[attr-defined]
    assert all(0 < point.recall <= 1 and point.queries_per_s > 0 for point in points)
