import math

import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score

from shortlist.contracts import Candidates
from shortlist.errors import SettingsError
from shortlist.evaluation.metrics import measure, parse, parse_all
from shortlist.evaluation.ranks import ranks

INF = float("inf")


def value(name: str, found: list[float], num_targets: int) -> float:
    return measure(parse(name), torch.tensor([found], dtype=torch.float64), torch.tensor([num_targets])).item()


def test_each_metric_has_its_textbook_value() -> None:
    found = [1.0, 3.0, INF]  # hits at the 2nd and 4th place, one of three targets missing
    assert value("hr@5", found, 3) == 1
    assert value("hr@1", found, 3) == 0
    assert value("recall@5", found, 3) == pytest.approx(2 / 3)
    assert value("recall@3", found, 3) == pytest.approx(1 / 3)
    assert value("precision@5", found, 3) == pytest.approx(2 / 5)
    assert value("mrr@5", found, 3) == pytest.approx(1 / 2)
    assert value("mrr@1", found, 3) == 0
    assert value("map@5", found, 3) == pytest.approx((1 / 2 + 2 / 4) / 3)
    gain = 1 / math.log2(3) + 1 / math.log2(5)
    assert value("ndcg@5", found, 3) == pytest.approx(gain / (1 + 1 / math.log2(3) + 1 / 2))
    assert value("ndcg@2", found, 3) == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))


@pytest.mark.parametrize("name", ["hr", "recall", "ndcg", "mrr", "map"])
def test_all_targets_on_top_score_one(name: str) -> None:
    assert value(f"{name}@10", [2.0, 0.0, 1.0], 3) == pytest.approx(1)


@pytest.mark.parametrize("name", ["hr", "recall", "precision", "ndcg", "mrr", "map"])
def test_padding_changes_nothing_and_no_targets_give_no_value(name: str) -> None:
    assert value(f"{name}@10", [3.0, INF, INF], 1) == value(f"{name}@10", [3.0], 1)
    assert math.isnan(value(f"{name}@10", [INF], 0))


def test_ndcg_equals_scikit_learn_where_nothing_ties() -> None:
    rng = np.random.default_rng(0)
    scores = rng.permuted(np.tile(np.arange(40.0), (60, 1)), axis=1)
    relevant = (rng.random((60, 40)) < 0.15).astype(int)
    relevant[:, 0] = 1
    items = torch.from_numpy(np.argsort(-scores, axis=1) + 1)
    answer = Candidates(items, -torch.arange(40.0).expand(60, -1))
    targets = torch.from_numpy(np.where(relevant, np.arange(1, 41), 0))
    found = ranks(answer, targets)
    for k in (1, 5, 10, 40):
        ours = measure(parse(f"ndcg@{k}"), found, (targets != 0).sum(1)).mean().item()
        assert ours == pytest.approx(ndcg_score(relevant, scores, k=k), abs=1e-12)


@pytest.mark.parametrize("name", ["hr", "recall", "precision", "ndcg", "mrr", "map"])
@pytest.mark.parametrize("k", [1, 2, 3, 10])
def test_no_tie_lifts_a_metric_above_one(name: str, k: int) -> None:
    draw = torch.Generator().manual_seed(k)
    scores = torch.randint(0, 3, (200, 8), generator=draw).float().sort(dim=1, descending=True).values
    answer = Candidates(torch.arange(1, 9).expand(200, -1), scores)
    targets = torch.rand(200, 8, generator=draw).argsort(1)[:, :5] + 1
    figures = measure(parse(f"{name}@{k}"), ranks(answer, targets), torch.full((200,), 5))
    assert figures.max().item() <= 1 + 1e-12


def test_metric_names_are_read_with_aliases_and_cut_off() -> None:
    assert [str(metric) for metric in parse_all(["HIT_RATE@5", "hr@5", "ndcg@20"])] == ["hr@5", "ndcg@20"]


def test_an_unknown_metric_names_the_known_and_the_nearest() -> None:
    with pytest.raises(
        SettingsError,
        match=r"'ncdg@10' is not known. Did you mean 'ndcg'\? Known: hr, recall, precision, ndcg, mrr, map",
    ):
        parse("ncdg@10")


@pytest.mark.parametrize("name", ["ndcg", "ndcg@", "ndcg@0", "ndcg@-1", "ndcg@ten"])
def test_a_missing_or_senseless_cut_off_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="needs a cut-off of at least 1, as in 'ndcg@10'"):
        parse(name)


def test_no_metric_at_all_is_refused() -> None:
    with pytest.raises(SettingsError, match="No metric"):
        parse_all([])
