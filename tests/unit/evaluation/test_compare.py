import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from shortlist.contracts import EvaluationBatch
from shortlist.errors import DataError, SettingsError
from shortlist.evaluation import Report, Shortlist, compare, evaluate

MakeBatch = Callable[..., EvaluationBatch]
MakeShortlist = Callable[..., Shortlist]


def report(
    values: np.ndarray, *, users: np.ndarray | None = None, keys: np.ndarray | None = None, protocol: str = "all"
) -> Report:
    count = len(values)
    return Report(
        metrics=(),
        num_users=count,
        protocol=protocol,
        per_user={"ndcg@10": np.asarray(values, dtype=float)},
        users=np.arange(count) if users is None else users,
        target_keys=np.zeros(count, dtype=np.int64) if keys is None else keys,
    )


def test_a_steady_gain_is_significant_though_users_differ_widely() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(500)
    gain = rng.normal(0.02, 0.05, 500)
    result = compare(report(base + gain), report(base))
    assert result.difference == pytest.approx(gain.mean())
    assert result.relative == pytest.approx(gain.mean() / base.mean())
    half = 1.96 * gain.std() / 500**0.5
    assert (result.low, result.high) == pytest.approx((gain.mean() - half, gain.mean() + half), abs=0.15 * half)
    assert result.is_significant
    assert result.num_users == 500
    assert str(result).startswith("ndcg@10: +0.0")


def test_a_report_does_not_differ_from_itself() -> None:
    same = report(np.random.default_rng(0).random(50))
    result = compare(same, same)
    assert (result.difference, result.low, result.high, result.relative) == (0, 0, 0, 0)
    assert not result.is_significant
    assert "not told apart from 0" in str(result)


def test_swapping_the_reports_turns_the_sign() -> None:
    rng = np.random.default_rng(0)
    a, b = report(rng.random(200)), report(rng.random(200))
    there, back = compare(a, b), compare(b, a)
    assert there.difference == -back.difference
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


def test_users_in_another_order_are_paired_by_who_they_are() -> None:
    rng = np.random.default_rng(0)
    values, order = rng.random(100), rng.permutation(100)
    shuffled = report(values[order], users=np.arange(100)[order])
    assert compare(report(values), shuffled).difference == 0
    assert compare(report(values), shuffled).high == 0


def test_reports_from_other_batches_of_the_same_users_compare(batch: MakeBatch, by_scores: MakeShortlist) -> None:
    draw = torch.Generator().manual_seed(0)
    table, targets = torch.randn(40, 31, generator=draw), torch.randint(1, 31, (40, 3), generator=draw).tolist()
    at_once = evaluate(by_scores(table), [batch(targets)], num_items=30)
    backwards = evaluate(
        by_scores(table), [batch([targets[u][::-1]], users=[u]) for u in range(39, -1, -1)], num_items=30
    )
    assert compare(at_once, backwards).difference == 0


def test_other_users_targets_or_protocols_are_refused() -> None:
    values = np.random.default_rng(0).random(10)
    base = report(values)
    with pytest.raises(DataError, match="different users: 10 and 9, 9 in both"):
        compare(base, report(values[:9]))
    with pytest.raises(DataError, match="different users"):
        compare(base, report(values, users=np.arange(1, 11)))
    with pytest.raises(DataError, match="1 of 10 users have other targets"):
        compare(base, report(values, keys=np.eye(10, dtype=np.int64)[4]))
    with pytest.raises(DataError, match="'all' and 'sampled: 100'"):
        compare(base, report(values, protocol="sampled: 100"))


def test_a_metric_that_was_not_measured_per_user_is_refused() -> None:
    base = report(np.ones(3))
    with pytest.raises(
        SettingsError, match=r"no values of 'ndcg@20' per user. Did you mean 'ndcg@10'\? It has: ndcg@10"
    ):
        compare(base, base, metric="ndcg@20")


def test_users_without_a_value_in_either_are_left_out() -> None:
    a, b = report(np.array([1.0, math.nan, 3.0, 5.0])), report(np.array([0.0, 1.0, math.nan, 4.0]))
    result = compare(a, b)
    assert (result.num_users, result.difference) == (2, 1.0)
    with pytest.raises(DataError, match="Only 1 users"):
        compare(dataclasses.replace(a, per_user={"ndcg@10": np.array([math.nan, math.nan, 3.0, 5.0])}), b)


def test_a_gain_over_nothing_is_infinitely_large() -> None:
    assert compare(report(np.ones(5)), report(np.zeros(5))).relative == math.inf
