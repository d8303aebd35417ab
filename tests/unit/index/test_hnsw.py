"""The graph index: what it is asked for, what it reaches, and what a damaged graph does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from shortlist.contracts import Filter
from shortlist.errors import SearchError, SettingsError, ShortlistWarning
from shortlist.index import HNSW, Exact, recall


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"recall": 0.0}, r"HNSW.recall is 0.0. It is above 0 and below 1"),
        ({"recall": 1.0}, r"HNSW.recall is 1.0"),
        ({"recall": 95}, r"HNSW.recall is 95"),
        ({"neighbours": 2}, r"HNSW.neighbours is 2. It is an even number from 4 to 256"),
        ({"neighbours": 33}, r"HNSW.neighbours is 33"),
        ({"ef_construction": 0}, r"HNSW.ef_construction is 0. It is a whole number from 1 to 100000"),
        ({"ef_search": -5}, r"HNSW.ef_search is -5"),
        ({"seed": -1}, r"HNSW.seed is -1"),
    ],
)
def test_a_setting_out_of_range_is_named_with_its_range(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        HNSW(**values)


def test_more_recall_is_asked_for_and_reached() -> None:
    vectors, queries = random(2_000, 32), random(600, 32, seed=1)
    items = torch.arange(1, 2_001)
    truth = Exact().build(items, vectors).search(queries[300:], 100)
    reached, looked = [], []
    for wanted in (0.8, 0.98):
        index = HNSW(recall=wanted, neighbours=8).build(items, vectors, queries=queries[:300])
        reached.append(float(recall(index.search(queries[300:], 100), truth=truth).mean()))
        looked.append(index.tuned.ef_search)
    assert reached[0] >= 0.8
    assert reached[1] >= 0.98
    assert looked[0] < looked[1]


def test_recall_out_of_reach_is_a_warning_with_what_was_reached() -> None:
    lonely = random(1_500, 64) * torch.randn(1_500, 1, generator=torch.Generator().manual_seed(1)).mul(3).exp()
    with pytest.warns(ShortlistWarning, match=r"reached recall 0\.\d+ of the 0.9999 asked for.*or use Exact"):
        HNSW(recall=0.9999, neighbours=4, ef_construction=4).build(torch.arange(1, 1_501), lonely)


def test_a_given_ef_search_is_used_as_it_is() -> None:
    index = HNSW(ef_search=123).build(torch.arange(1, 501), random(500, 8))
    assert index.tuned.ef_search == 123
    assert "ef_search=123" in str(index.report)


def test_popular_directions_do_not_hide_the_rest() -> None:
    """Where vectors share a strong direction, a graph of inner products alone links most items from nowhere."""
    vectors = random(2_000, 32) * 0.3
    vectors[:, 0] += torch.rand(2_000, generator=torch.Generator().manual_seed(1)) * 4
    queries = random(100, 32, seed=2)
    queries[:, 0] = queries[:, 0].abs() * 0.05  # what these ask for is in the other dimensions
    items = torch.arange(1, 2_001)
    index = HNSW(recall=0.95).build(items, vectors, queries=queries)
    truth = Exact().build(items, vectors).search(queries, 100)
    assert float(recall(index.search(queries, 100), truth=truth).mean()) > 0.95


def test_another_seed_is_another_graph_and_the_same_seed_the_same() -> None:
    items, vectors = torch.arange(1, 401), random(400, 8)
    first, same, other = (HNSW(seed=seed, ef_search=50).build(items, vectors).arrays()["links"] for seed in (3, 3, 4))
    assert torch.equal(first, same)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_a_selective_mask_keeps_the_recall_of_the_graph() -> None:
    """Large enough that a mask of half the items is searched in the graph and not exactly."""
    vectors, queries = random(12_000, 8), random(100, 8, seed=1)
    items = torch.arange(1, 12_001)
    index = HNSW(neighbours=8, ef_construction=40).build(items, vectors, queries=random(200, 8, seed=2))
    allowed = Filter(allowed=torch.arange(12_001) % 2 == 0)
    truth = Exact().build(items, vectors).search(queries, 50, filter=allowed)
    found = index.search(queries, 50, filter=allowed)
    assert found.valid.all()
    assert not bool((found.items % 2).any())
    assert float(recall(found, truth=truth).mean()) > 0.94


def test_compaction_changes_no_answer_that_was_exact() -> None:
    vectors = random(2_000, 8)
    index = HNSW(ef_search=2_000).build(torch.arange(1, 1_501), vectors[:1_500])
    index.add(torch.arange(1_501, 2_001), vectors[1_500:])
    index.remove(torch.arange(1, 301))
    before = index.search(random(20, 8, seed=1), 10)
    index.compact()
    after = index.search(random(20, 8, seed=1), 10)
    assert len(index) == 1_700
    assert len(index.arrays()["delta_items"]) == 0
    assert before.items.tolist() == after.items.tolist()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("links", lambda links: links.clamp(max=-1) + 1_000_000),
        ("links", lambda links: links - 5),
        ("links", lambda links: links[:-1]),
        ("levels", lambda levels: levels + 1),
        ("levels", lambda levels: levels * 0),
        ("levels", lambda levels: levels * 100),
        ("entry", lambda entry: entry + 100_000),
        ("entry", lambda entry: entry * 0 - 1),
        ("ef_search", lambda ef_search: ef_search * 0),
    ],
)
def test_a_damaged_graph_is_refused_before_it_is_searched(name: str, change: Any) -> None:
    settings = HNSW(ef_search=50)
    arrays = settings.build(torch.arange(1, 401), random(400, 8)).arrays()
    with pytest.raises(SearchError):
        settings.restore(arrays | {name: change(arrays[name])})


def test_a_graph_of_other_settings_is_refused() -> None:
    arrays = HNSW(ef_search=50, neighbours=16).build(torch.arange(1, 401), random(400, 8)).arrays()
    with pytest.raises(SearchError, match="neighbours"):
        HNSW(neighbours=32).restore(arrays)


def test_links_to_levels_where_a_vector_is_not_are_refused() -> None:
    settings = HNSW(ef_search=50, neighbours=8)
    arrays = settings.build(torch.arange(1, 801), random(800, 8)).arrays()
    levels, links = arrays["levels"].to(torch.int64), arrays["links"].clone()
    sizes = 16 + 4 * (levels - 1)
    high, low = int((levels > 1).nonzero()[0]), int((levels == 1).nonzero()[0])
    links[int(sizes[:high].sum()) + 16] = low
    with pytest.raises(SearchError, match="levels they are not on"):
        settings.restore(arrays | {"links": links})


def test_vectors_outlive_the_index_they_came_from() -> None:
    settings, vectors = HNSW(ef_search=50), random(400, 8)
    arrays = settings.build(torch.arange(1, 401), vectors).arrays()  # the index itself is gone
    assert torch.equal(arrays["vectors"], vectors)


def test_a_sweep_finds_more_with_more_effort() -> None:
    draw = torch.Generator().manual_seed(0)
    vectors, queries = torch.randn(4_000, 32, generator=draw), torch.randn(200, 32, generator=draw)
    index = HNSW(ef_search=200, neighbours=8, ef_construction=20).build(
        torch.arange(1, 4_001), vectors, queries=queries
    )
    points = {point.setting: point.recall for point in index.sweep()}
    efforts = [f"ef_search={size}" for size in (100, 400, 800, 1600, 3200)]
    assert set(efforts) < set(points)
    recalls = [points[setting] for setting in efforts]
    assert recalls == sorted(recalls)
    assert recalls[0] < points[repr(index.tuned)] < recalls[1]
