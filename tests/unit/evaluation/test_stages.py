"""A funnel made by hand, of which it is known where each held-out item is lost."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from shortlist.contracts import Candidates, EvaluationBatch, Filter, Requests, Stages
from shortlist.evaluation import Report, Shortlist, Stage, Steps, compare, evaluate

MakeBatch = Callable[..., EvaluationBatch]
K = 2


def lists(*rows: list[int]) -> Candidates:
    """Lists in the order given, scores falling by one."""
    items = torch.tensor(rows)
    return Candidates(items, -torch.arange(items.shape[1]).float().expand(items.shape))


def by_name(stages: tuple[Stage, ...]) -> dict[str, Stage]:
    return {stage.name: stage for stage in stages}


@pytest.fixture
def funnel() -> Shortlist:
    """Two requests: the index finds 4 of 5 candidates, and re-ranking swaps what is best."""

    def shortlist(requests: Requests, /, *, k: int, filter: Filter) -> Stages:
        retrieved = lists([1, 2, 3, 4], [1, 2, 3, 4])
        return Stages(retrieved, retrieved, lists([3, 1, 2, 4], [1, 3, 2, 4]), {"embed": 0.5, "search": 1.0, "rank": 3})

    return shortlist


@pytest.fixture
def report(funnel: Shortlist, batch: MakeBatch) -> Report:
    """Held out of the first request: one item that each step loses; of the second, one that is never lost.

    Item 9 is in the vocabulary and not in the catalogue, 8 is barred by the filter, 7 is no candidate of exact search,
    6 is missed by the index, 4 is not in the top before re-ranking, 2 is pushed out by it, 3 is brought in, 1 stays.
    """
    catalogue = torch.ones(10, dtype=torch.bool)
    catalogue[9] = False

    def exact(requests: Requests, k: int, /, *, filter: Filter) -> Candidates:
        assert k == 4
        return lists([1, 2, 6, 4], [1, 2, 6, 4])

    asked = batch([[9, 8, 7, 6, 4, 2, 3, 1], [1]], filter=Filter(exclude=torch.tensor([[8], [8]])), history=0)
    steps = Steps(exact=exact, catalogue=catalogue)
    return evaluate(funnel, [asked], num_items=9, metrics=[f"ndcg@{K}"], steps=steps)


def test_each_stage_counts_what_it_still_holds(report: Report) -> None:
    assert [(stage.name, stage.targets) for stage in report.stages] == [
        ("held out", 9), ("catalogue", 8), ("allowed", 7), ("exact", 5), ("retrieved", 5), ("unranked", 3), ("ranked", 3),
    ]  # fmt: skip
    assert [stage.recall.value for stage in report.stages] == pytest.approx(
        [(share + 1) / 2 for share in (1, 7 / 8, 6 / 8, 4 / 8, 4 / 8, 2 / 8, 2 / 8)]
    )
    assert [stage.meaning for stage in report.stages[3:]] == [
        "exact search, 4 candidates", "index, 4 candidates", "top 2 before re-ranking", "top 2 after re-ranking",
    ]  # fmt: skip
    assert [stage.slots for stage in report.stages] == [None, None, None, 4, 4, 2, 2]


def test_the_order_of_each_list_is_judged_where_it_has_one(report: Report) -> None:
    stages = by_name(report.stages)
    assert stages["catalogue"].ndcg is None
    ideal = 1 + 1 / math.log2(3)
    first = {
        "exact": ideal,
        "retrieved": ideal,
        "unranked": ideal,
        "ranked": ideal,
    }  # 1 and 2, or 3 and 1, are held out
    for name, gain in first.items():
        ndcg = stages[name].ndcg
        assert ndcg is not None
        assert ndcg.metric == "ndcg@2"
        assert ndcg.value == pytest.approx((gain / ideal + 1) / 2)


def test_times_are_of_a_request_and_stand_at_the_stage_they_are_spent_on(report: Report) -> None:
    stages = by_name(report.stages)
    assert (stages["retrieved"].ms, stages["ranked"].ms, stages["unranked"].ms) == (500.0, 1500.0, None)
    assert report.ms_per_step["embed"] == 250.0
    assert report.ms_per_step["exact search"] == stages["exact"].ms


def test_segments_count_their_own_items_alone(funnel: Shortlist, batch: MakeBatch) -> None:
    counts = torch.tensor([0, 50, 1, 1, 1, 0, 0, 0])  # the head is item 1, cold are 5, 6 and 7
    parts = [batch([[1, 4, 7], [2]], history=0), batch([[1], [1]], history=30)]
    report = evaluate(funnel, parts, num_items=7, metrics=[f"ndcg@{K}"], item_counts=counts)
    found = {segment.name: by_name(segment.stages) for segment in report.segments}
    targets = {
        name: [stages[stage].targets for stage in ("held out", "retrieved", "unranked", "ranked")]
        for name, stages in found.items()
    }
    assert targets == {
        "new": [4, 3, 2, 1], "heavy": [2, 2, 2, 2], "head": [3, 3, 3, 3], "tail": [2, 2, 1, 0], "cold": [1, 0, 0, 0],
    }  # fmt: skip
    assert found["tail"]["unranked"].recall.value == 0.5
    assert found["head"]["ranked"].recall.value == 1.0


def test_items_that_no_vocabulary_has_are_lost_at_once_and_no_matter_of_the_metrics(
    funnel: Shortlist, batch: MakeBatch
) -> None:
    asked = batch([[1], []])
    counts = torch.tensor([0, 5, 1, 1, 1])
    plain = evaluate(funnel, [batch([[1], [1]])], num_items=4, metrics=["hr@2"], item_counts=counts)
    known = dataclasses.replace(asked, unknown=torch.tensor([1, 2]))
    one_row: Shortlist = lambda requests, /, *, k, filter: _first_row(funnel(requests, k=k, filter=filter))  # noqa: E731
    report = evaluate(one_row, [known], num_items=4, metrics=["hr@2"], item_counts=counts)
    stages = by_name(report.stages)
    assert report["hr@2"].value == plain["hr@2"].value == 1.0
    assert (report.num_users, len(report.users)) == (1, 1)
    assert (stages["held out"].targets, stages["catalogue"].targets, stages["ranked"].targets) == (4, 1, 1)
    assert stages["held out"].recall.value == 1.0
    assert stages["ranked"].recall.value == (1 / 2 + 0) / 2
    assert "cold" not in {segment.name for segment in report.segments}  # none of them could be asked for
    assert any("not in the catalogue: 3" in note for note in report.notes)


def _first_row(stages: Stages) -> Stages:
    retrieved, ranked = (part.take(torch.tensor([0])) for part in (stages.retrieved, stages.ranked))
    return Stages(retrieved, retrieved, ranked)


def test_an_exact_index_and_a_missing_ranker_are_said_in_a_line_and_not_repeated(
    batch: MakeBatch, by_scores: Callable[..., Shortlist]
) -> None:
    table = torch.arange(6.0).expand(2, -1)
    steps = Steps(is_reranked=False, is_exact=True)
    report = evaluate(by_scores(table), [batch([[5], [1]])], num_items=5, metrics=["hr@2"], steps=steps)
    assert [stage.name for stage in report.stages] == ["held out", "catalogue", "allowed", "retrieved"]
    assert report.stages[-1].meaning == "exact search, top 2"
    assert report.stages[-1].recall.value == report["hr@2"].value == 0.5
    assert [note.split(":")[0] for note in report.stage_notes] == [
        "The search scores every item",
        "There is no re-ranking",
    ]


def test_a_funnel_that_filters_after_its_search_has_a_stage_of_its_own(batch: MakeBatch) -> None:
    items = torch.tensor([[5, 4, 3, 2, 1]])
    retrieved = Candidates(items, torch.tensor([[1.0, 5.0, 2.0, 4.0, 3.0]]))  # several sources: no order
    filtered = lists([5, 4, 3])

    def shortlist(requests: Requests, /, *, k: int, filter: Filter) -> Stages:
        return Stages(retrieved, filtered, lists([3, 4]))

    stages = by_name(evaluate(shortlist, [batch([[1, 2, 3, 4]])], num_items=50, metrics=["ndcg@1"]).stages)
    found = {
        name: (stages[name].recall.value, stages[name].size) for name in ("retrieved", "filtered", "unranked", "ranked")
    }
    assert found == {"retrieved": (1.0, 5.0), "filtered": (0.5, 3.0), "unranked": (0.0, 1.0), "ranked": (0.25, 1.0)}
    assert stages["retrieved"].ndcg is None


def test_a_stage_has_the_interval_of_the_metric_it_equals(
    batch: MakeBatch, by_scores: Callable[..., Shortlist]
) -> None:
    draw = torch.Generator().manual_seed(0)
    table, targets = torch.randn(90, 31, generator=draw), torch.randint(1, 31, (90, 1), generator=draw).tolist()
    report = evaluate(
        by_scores(table, candidates=25), [batch(targets)], num_items=30, metrics=["recall@10", "ndcg@10"], seed=1
    )
    ranked = by_name(report.stages)["ranked"]
    for stage, metric in ((ranked.recall, "recall@10"), (ranked.ndcg, "ndcg@10")):
        assert stage is not None
        assert (stage.value, stage.low, stage.high) == pytest.approx(dataclasses.astuple(report[metric])[1:])
        assert stage.low is not None
        assert stage.high is not None
        assert stage.low < stage.value < stage.high


def test_comparing_two_funnels_tells_the_stages_apart(batch: MakeBatch, by_scores: Callable[..., Shortlist]) -> None:
    draw = torch.Generator().manual_seed(0)
    table, targets = torch.randn(60, 31, generator=draw), torch.randint(1, 31, (60, 1), generator=draw).tolist()
    better: Tensor = table.scatter_add(1, torch.tensor(targets), torch.ones(60, 1))
    reports = [
        evaluate(by_scores(scores, candidates=20), [batch(targets)], num_items=30, metrics=["ndcg@5"])
        for scores in (better, table)
    ]
    found = compare(*reports, metric="ndcg@5")
    assert [stage.metric for stage in found.stages] == [
        "retrieved, recall@20",
        "unranked, recall@5",
        "ranked, recall@5",
    ]
    mine, others = (by_name(report.stages)["ranked"].recall.value for report in reports)
    assert found.stages[-1].difference == pytest.approx(mine - others)
    assert found.stages[-1].is_significant
    shorter = evaluate(by_scores(table, candidates=15), [batch(targets)], num_items=30, metrics=["ndcg@5"])
    assert [stage.metric for stage in compare(reports[0], shorter, metric="ndcg@5").stages] == [
        "unranked, recall@5", "ranked, recall@5",
    ]  # fmt: skip
    assert np.isfinite([stage.low for stage in found.stages]).all()
