import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from shortlist.contracts import Candidates, EvaluationBatch, Filter, Requests, Stages
from shortlist.errors import DataError, SettingsError
from shortlist.evaluation import Shortlist, evaluate

MakeBatch = Callable[..., EvaluationBatch]
MakeShortlist = Callable[..., Shortlist]

METRICS = ["hr@10", "recall@10", "precision@10", "ndcg@10", "mrr@10", "map@10"]


def scores(rows: list[list[float]]) -> Tensor:
    """A score table with a column 0 for the unknown item."""
    return torch.tensor([[-torch.inf, *row] for row in rows])


def test_each_user_gets_the_figure_of_their_own_list(batch: MakeBatch, by_scores: MakeShortlist) -> None:
    table = scores([[0.9, 0.8, 0.7, 0.1], [0.1, 0.2, 0.9, 0.3]])
    report = evaluate(by_scores(table), [batch([[2], [3]])], num_items=4, metrics=["hr@1", "mrr@2", "ndcg@2"])
    assert report.per_user["hr@1"].tolist() == [0, 1]
    assert report.per_user["mrr@2"].tolist() == [0.5, 1]
    assert report["ndcg@2"].value == pytest.approx((1 / math.log2(3) + 1) / 2)
    assert report.num_users == 2


def test_a_users_figures_do_not_depend_on_the_batch_or_its_padding(batch: MakeBatch, by_scores: MakeShortlist) -> None:
    draw = torch.Generator().manual_seed(0)
    table = torch.randn(30, 61, generator=draw)
    targets = [torch.randperm(60, generator=draw)[: 1 + user % 5].add(1).tolist() for user in range(30)]
    together = evaluate(by_scores(table), [batch(targets)], num_items=60, metrics=METRICS)
    apart = (batch([row, [0] * 9], users=[user, 0]) for user, row in enumerate(targets))
    alone = evaluate(by_scores(table), apart, num_items=60, metrics=METRICS)
    for metric in METRICS:
        assert alone.per_user[metric].tolist() == together.per_user[metric].tolist()
    assert alone.target_keys.tolist() == together.target_keys.tolist()


def test_asking_for_short_lists_ranks_ties_as_if_all_items_had_been_asked_for(
    batch: MakeBatch, by_scores: MakeShortlist
) -> None:
    draw = torch.Generator().manual_seed(0)
    num_items, k = 60, 5
    table = torch.randint(0, 12, (300, num_items + 1), generator=draw).float()
    table[:, 1:] *= torch.rand(300, 1, generator=draw) < 0.8  # some users have nothing but ties
    target = torch.randint(1, num_items + 1, (300, 1), generator=draw)
    real = table[:, 1:]
    own = table.gather(1, target)
    rank = (real > own).sum(1) + ((real == own).sum(1) - 1) / 2
    report = evaluate(by_scores(table), [batch(target.tolist())], num_items=num_items, metrics=[f"mrr@{k}", f"hr@{k}"])
    assert report.per_user[f"hr@{k}"].tolist() == (rank < k).double().tolist()
    expected = torch.where(rank < k, 1 / (rank.double() + 1), 0.0)
    torch.testing.assert_close(torch.from_numpy(report.per_user[f"mrr@{k}"]), expected)


@pytest.mark.parametrize("num_targets", [1, 7])
def test_constant_scores_never_look_better_than_random_ones(
    batch: MakeBatch, by_scores: MakeShortlist, num_targets: int
) -> None:
    draw = torch.Generator().manual_seed(0)
    num_items, users = 200, 400
    # targets are the first items, which a top-k of constant scores happens to answer
    targets = [torch.randperm(40, generator=draw)[:num_targets].add(1).tolist() for _ in range(users)]
    constant = evaluate(
        by_scores(torch.zeros(users, num_items + 1)), [batch(targets)], num_items=num_items, metrics=METRICS
    )
    random = evaluate(
        by_scores(torch.randn(users, num_items + 1, generator=draw)),
        [batch(targets)],
        num_items=num_items,
        metrics=METRICS,
    )
    for metric in METRICS:
        assert constant[metric].value <= random[metric].value


def test_perfect_scores_reach_one_and_the_worst_zero(batch: MakeBatch, by_scores: MakeShortlist) -> None:
    table = torch.arange(101.0).expand(5, -1)
    best = evaluate(by_scores(table), [batch([[100, 99]] * 5)], num_items=100, metrics=["ndcg@10", "recall@10"])
    worst = evaluate(by_scores(table), [batch([[1, 2]] * 5)], num_items=100, metrics=["ndcg@10", "recall@10"])
    assert [found.value for found in best.metrics] == pytest.approx([1, 1])
    assert [found.value for found in worst.metrics] == [0, 0]


def test_a_user_without_targets_is_left_out_and_counted(batch: MakeBatch, by_scores: MakeShortlist) -> None:
    asked: list[int] = []
    table = torch.arange(11.0).expand(3, -1)

    def shortlist(requests: Requests, /, *, k: int, filter: Filter) -> Stages:
        assert requests.user is not None
        asked.extend(requests.user.tolist())
        return by_scores(table)(requests, k=k, filter=filter)

    exclude = Filter(exclude=torch.tensor([[0], [9], [10]]))
    report = evaluate(shortlist, [batch([[10], [], [9]], filter=exclude)], num_items=10, metrics=["hr@1"])
    assert asked == [0, 2]
    assert report.users.tolist() == [0, 2]
    assert report["hr@1"].value == 1.0
    assert report.notes == ("Requests without a target, left out: 1.",)


def test_requests_without_a_user_are_numbered_over_all_batches() -> None:
    def shortlist(requests: Requests, /, *, k: int, filter: Filter) -> Stages:
        found = Candidates.top(torch.arange(6.0).repeat(len(requests), 1), k, filter)
        return Stages(found, found, found)

    batches = [
        EvaluationBatch(
            Requests(history=torch.ones(len(rows), 1, dtype=torch.int64)),
            torch.tensor(rows),
            Filter(),
            torch.ones(len(rows)),
        )
        for rows in ([[1], [0]], [[2], [3]])
    ]
    assert evaluate(shortlist, batches, num_items=5).users.tolist() == [0, 2, 3]


def test_nothing_to_evaluate_is_an_error(batch: MakeBatch, by_scores: MakeShortlist) -> None:
    with pytest.raises(DataError, match="none of the 2 requests has a target"):
        evaluate(by_scores(torch.zeros(2, 4)), [batch([[0], [0]])], num_items=3)
    with pytest.raises(DataError, match="none of the 0 requests"):
        evaluate(by_scores(torch.zeros(2, 4)), [], num_items=3)


def test_repeated_and_unreachable_targets_are_counted(batch: MakeBatch, by_scores: MakeShortlist) -> None:
    filter = Filter(exclude=torch.tensor([[3, 0], [1, 2]]))
    table = torch.arange(6.0).expand(2, -1)
    report = evaluate(
        by_scores(table), [batch([[5, 5, 3], [4, 1, 2]], filter=filter)], num_items=5, metrics=["recall@5"]
    )
    assert report.per_user["recall@5"].tolist() == pytest.approx([1 / 2, 1 / 3])
    assert report.notes == (
        "Targets that a request repeats, counted once: 1.",
        "Targets that the request's filter keeps out, counted as not found: 3 of 5.",
    )


@pytest.mark.parametrize(
    "allowed", [torch.tensor([False, True, False, True, True]), torch.tensor([[1, 3, 4], [4, 3, 1]])]
)
def test_targets_outside_of_the_allowed_items_are_counted(
    batch: MakeBatch, by_scores: MakeShortlist, allowed: Tensor
) -> None:
    table = torch.arange(5.0).expand(2, -1)
    report = evaluate(
        by_scores(table), [batch([[2], [3]], filter=Filter(allowed=allowed))], num_items=4, metrics=["hr@2"]
    )
    assert report["hr@2"].value == 0.5
    assert report.notes == ("Targets that the request's filter keeps out, counted as not found: 1 of 2.",)


def test_the_protocol_says_what_targets_are_ranked_among(batch: MakeBatch, by_scores: MakeShortlist) -> None:
    table = torch.arange(7.0).expand(2, -1)
    mask = torch.tensor([False, True, True, False, True, False, False])
    sampled = Filter(allowed=torch.tensor([[1, 2, 0], [3, 4, 5]]))

    def protocol(filter: Filter) -> str:
        return evaluate(by_scores(table), [batch([[1], [3]], filter=filter)], num_items=6).protocol

    assert protocol(Filter()) == "all 6 items ranked"
    assert protocol(Filter(allowed=mask)) == "3 of 6 items ranked"
    assert protocol(sampled) == "sampled: 2 to 3 given candidates"


def test_users_are_told_apart_by_how_much_is_known_of_them(batch: MakeBatch, by_scores: MakeShortlist) -> None:
    table = torch.arange(11.0).expand(3, -1)
    parts = [
        batch([[10]], users=[0], history=0),
        batch([[1]], users=[1], history=20),
        batch([[9]], users=[2], history=21),
    ]
    report = evaluate(by_scores(table), parts, num_items=10, metrics=["mrr@3"])
    assert [(segment.of, segment.name, segment.num_users, segment.metrics[0].value) for segment in report.segments] == [
        ("users", "new", 1, 1.0),
        ("users", "occasional", 1, 0.0),
        ("users", "heavy", 1, 0.5),
    ]


def test_segments_of_items_look_only_at_their_own_targets(batch: MakeBatch, by_scores: MakeShortlist) -> None:
    table = torch.arange(5.0).expand(2, -1)  # answers 4, 3, 2, 1
    counts = torch.tensor([0, 50, 1, 1, 0])
    report = evaluate(by_scores(table), [batch([[1, 4], [3]])], num_items=4, metrics=["recall@2"], item_counts=counts)
    found = {
        segment.name: (segment.num_users, segment.metrics[0].value)
        for segment in report.segments
        if segment.of == "items"
    }
    assert found == {"head": (1, 0.0), "tail": (1, 1.0), "cold": (1, 1.0)}


def test_coverage_counts_the_items_that_anyone_was_shown(batch: MakeBatch, by_scores: MakeShortlist) -> None:
    table = scores([[4, 3, 2, 1, 0, 0, 0, 0], [4, 2, 3, 1, 0, 0, 0, 0]])
    parts = [batch([[1]], users=[0]), batch([[1]], users=[1])]
    report = evaluate(by_scores(table), parts, num_items=8, metrics=["coverage@2", "coverage@3"])
    assert report["coverage@2"].value == 3 / 8
    assert report["coverage@3"].value == 3 / 8
    assert report["coverage@2"].low is None


def test_novelty_and_diversity_look_at_the_first_k_answers(batch: MakeBatch, by_scores: MakeShortlist) -> None:
    table = scores([[4, 3, 2, 1]])
    report = evaluate(
        by_scores(table),
        [batch([[4]])],
        num_items=4,
        metrics=["novelty@2", "diversity@2", "hr@4"],
        item_counts=torch.tensor([0, 4, 2, 1, 1]),
        item_vectors=torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 0.0], [1.0, 0.0]]),
    )
    assert report["novelty@2"].value == 1.5
    assert report["diversity@2"].value == 1.0


def test_intervals_can_be_left_out_and_repeat_with_the_seed(batch: MakeBatch, by_scores: MakeShortlist) -> None:
    draw = torch.Generator().manual_seed(0)
    table, targets = torch.randn(100, 31, generator=draw), torch.randint(1, 31, (100, 1), generator=draw).tolist()

    def interval(seed: int, bootstrap: int) -> tuple[float | None, float | None]:
        found = evaluate(
            by_scores(table), [batch(targets)], num_items=30, metrics=["hr@10"], seed=seed, bootstrap=bootstrap
        )["hr@10"]
        return found.low, found.high

    assert interval(0, 0) == (None, None)
    assert interval(3, 200) == interval(3, 200)
    assert interval(3, 200) != interval(4, 200)


def test_a_cut_off_beyond_the_catalogue_is_noted(batch: MakeBatch, by_scores: MakeShortlist) -> None:
    report = evaluate(
        by_scores(torch.arange(4.0).expand(1, -1)), [batch([[1]])], num_items=3, metrics=["recall@50", "precision@50"]
    )
    assert report["recall@50"].value == 1.0
    assert report["precision@50"].value == 1 / 50
    assert report.notes == ("The largest cut-off, 50, exceeds the catalogue of 3 items.",)


@pytest.mark.parametrize("metric", ["novelty@5", "diversity@5"])
def test_a_metric_without_its_data_is_refused(batch: MakeBatch, by_scores: MakeShortlist, metric: str) -> None:
    with pytest.raises(SettingsError, match=r"needs item_(counts|vectors), which was not given"):
        evaluate(by_scores(torch.zeros(1, 4)), [batch([[1]])], num_items=3, metrics=[metric])


def test_counts_of_another_catalogue_are_refused(batch: MakeBatch, by_scores: MakeShortlist) -> None:
    with pytest.raises(DataError, match="item_counts has 3 rows; it needs 4"):
        evaluate(by_scores(torch.zeros(1, 4)), [batch([[1]])], num_items=3, item_counts=torch.ones(3))


@pytest.mark.parametrize("target", [-1, 4])
def test_targets_outside_of_the_catalogue_are_refused(batch: MakeBatch, by_scores: MakeShortlist, target: int) -> None:
    with pytest.raises(DataError, match=r"Targets run from .*items from 1 to 3"):
        evaluate(by_scores(torch.zeros(1, 4)), [batch([[1, target]])], num_items=3)


def test_an_answer_that_does_not_fit_the_requests_or_the_catalogue_is_refused(batch: MakeBatch) -> None:
    def answering(candidates: Candidates) -> None:
        def shortlist(requests: Requests, /, *, k: int, filter: Filter) -> Stages:
            return Stages(candidates, candidates, candidates)

        evaluate(shortlist, [batch([[1], [2]])], num_items=3)

    with pytest.raises(DataError, match="1 rows for 2 requests"):
        answering(Candidates(torch.tensor([[1]]), torch.tensor([[0.5]])))
    with pytest.raises(DataError, match="items from 1 to 9; items run from 1 to 3"):
        answering(Candidates(torch.tensor([[1], [9]]), torch.tensor([[0.5], [0.5]])))
    with pytest.raises(DataError, match="best first"):
        answering(Candidates(torch.tensor([[1, 2], [1, 2]]), torch.tensor([[0.5, 0.9], [0.5, 0.1]])))
