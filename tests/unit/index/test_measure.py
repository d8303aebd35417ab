"""What is measured of an index, on answers whose figures are known."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from shortlist.contracts import Candidates, Filter
from shortlist.errors import SearchError
from shortlist.index import HNSW, IVFPQ, Exact, choose, measure, recall


class Half:
    """Finds every second of the best."""

    def __init__(self, items: Tensor, vectors: Tensor) -> None:
        self.exact = Exact().build(items, vectors)

    def search(self, queries: Tensor, k: int, *, filter: Filter | None = None) -> Candidates:
        found = self.exact.search(queries, k, filter=filter)
        items, scores = found.items.clone(), found.scores.clone()
        items[:, 1::2], scores[:, 1::2] = 0, -torch.inf
        return Candidates(items, scores)

    def arrays(self) -> dict[str, Tensor]:
        return {"nothing": torch.zeros(10, dtype=torch.int64)}

    def __len__(self) -> int:
        return len(self.exact)


def test_recall_is_the_part_of_the_true_best_that_was_found() -> None:
    truth = Candidates(torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]]), torch.tensor([[4.0, 3, 2, 1], [4, 3, 2, 1]]))
    found = Candidates(
        torch.tensor([[1, 2, 9, 0], [5, 6, 7, 8]]), torch.tensor([[4.0, 3, 0.5, -torch.inf], [4, 3, 2, 1]])
    )
    assert recall(found, truth=truth).tolist() == [0.5, 1.0]


def test_recall_takes_any_of_equal_items() -> None:
    truth = Candidates(torch.tensor([[1, 2]]), torch.tensor([[4.0, 3.0]]))
    assert recall(Candidates(torch.tensor([[1, 9]]), torch.tensor([[4.0, 3.0]])), truth=truth).tolist() == [1.0]


def test_recall_of_a_short_catalogue_counts_what_there_is() -> None:
    empty = torch.tensor([[0, 0]]), torch.tensor([[-torch.inf, -torch.inf]])
    one = torch.tensor([[4, 0]]), torch.tensor([[-1.0, -torch.inf]])
    assert recall(Candidates(*one), truth=Candidates(*one)).tolist() == [1.0]
    assert recall(Candidates(*empty), truth=Candidates(*one)).tolist() == [0.0]
    assert recall(Candidates(*empty), truth=Candidates(*empty)).tolist() == [1.0]


def test_a_report_states_what_was_measured() -> None:
    items, vectors = torch.arange(1, 51), torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    report = measure(Half(items, vectors), items=items, vectors=vectors, queries=vectors[:20], k=10, settings="half")
    assert (report.settings, report.items, report.width, report.k, report.queries) == ("half", 50, 4, 10, 20)
    assert report.recall == pytest.approx(0.5)
    assert report.bytes_per_item == pytest.approx(80 / 50)
    assert report.build_s is None
    assert 0 < report.p50_ms <= report.p99_ms
    assert "recall@10 0.500" in str(report)


def test_k_is_cut_to_the_catalogue() -> None:
    items, vectors = torch.arange(1, 8), torch.eye(7)
    report = measure(Exact().build(items, vectors), items=items, vectors=vectors, queries=vectors)
    assert (report.k, report.recall) == (7, 1.0)


def test_nothing_to_measure_is_an_error() -> None:
    index = Exact().build(torch.empty(0, dtype=torch.int64), torch.empty(0, 3))
    with pytest.raises(SearchError, match="0 items"):
        _ = index.report
    with pytest.raises(SearchError, match="0 queries"):
        measure(index, items=torch.ones(1, dtype=torch.int64), vectors=torch.ones(1, 3), queries=torch.empty(0, 3))


def test_a_report_follows_edits_and_a_restored_index_has_no_build_time() -> None:
    vectors = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    index = HNSW().build(torch.arange(1, 301), vectors, queries=vectors[:50])
    assert index.report.items == 300
    assert index.report.queries == 25  # the other half tuned it
    index.remove(torch.arange(1, 101))
    assert index.report.items == 200
    restored = HNSW().restore(index.arrays())
    assert restored.report.build_s is None
    assert restored.report.recall == pytest.approx(index.report.recall)
    assert dataclasses.asdict(restored.report)["items"] == 200


def test_exact_search_is_chosen_while_it_is_fast_enough() -> None:
    assert choose(1_000) == Exact()
    assert choose(5_000_000) == IVFPQ()
