"""Losses over many candidates equal the plain ones, in value and gradient, and keep no large table."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from shortlist.models import blocked, losses
from shortlist.pools import Pools

BENCHMARK = Path(__file__).resolve().parents[3] / "benchmarks" / "sequences.py"


def _problem(
    num: int, num_candidates: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(num, 6, generator=generator, dtype=dtype).requires_grad_()
    candidates = torch.randn(num_candidates, 6, generator=generator, dtype=dtype).requires_grad_()
    columns = torch.randint(0, num_candidates, (num,), generator=generator)
    weights = torch.rand(num, generator=generator, dtype=dtype)
    return queries, candidates, columns, weights


def _same(mine: Tensor, plain: Tensor, inputs: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(mine, plain)
    for one, other in zip(torch.autograd.grad(mine, inputs), torch.autograd.grad(plain, inputs), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("dense", [10_000, 0])  # products with all candidates, or gathered vectors
def test_gbce_is_the_mean_over_a_positive_and_its_negatives(dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "DENSE_PER_NEGATIVE", dense)
    monkeypatch.setattr(blocked, "GATHERED", 500)  # several blocks
    queries, candidates, columns, weights = _problem(300, 40)
    negatives = torch.randint(0, 40, (300, 7), generator=torch.Generator().manual_seed(1))
    value = losses.gbce(queries, candidates, columns, negatives, calibration=0.6, temperature=0.5, weights=weights)
    beta = losses.gbce_power(0.6, num_negatives=7, num_items=40)
    positive = (queries * candidates[columns]).sum(1) / 0.5
    against = torch.einsum("rd,rnd->rn", queries, candidates[negatives]) / 0.5
    softplus = torch.nn.functional.softplus
    plain = losses.mean((beta * softplus(-positive) + softplus(against).sum(1)) / 8, weights)
    _same(value, plain, (queries, candidates))


@pytest.mark.parametrize(
    "loss",
    [losses.bpr_max, losses.top1_max, lambda scores, own: losses.bpr_max(scores, own, regularization=1.5, elu=0.5)],
)
def test_losses_of_score_rows_are_the_same_in_blocks(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    queries, candidates, columns, weights = _problem(600, 30)
    value = losses.blocked(loss, queries, candidates, columns, weights=weights)
    plain = losses.mean(loss(queries @ candidates.T, columns), weights)
    _same(value, plain, (queries, candidates))


def test_listed_columns_do_not_count_but_for_the_positive() -> None:
    queries, candidates, columns, weights = _problem(300, 20)
    listed = torch.randint(0, 20, (300, 4), generator=torch.Generator().manual_seed(2))
    listed[:, 0] = columns
    masked = torch.zeros(300, 20, dtype=torch.bool).scatter_(1, listed, True).scatter_(1, columns[:, None], False)
    scores = (queries @ candidates.T).masked_fill(masked, -torch.inf)
    plain = losses.mean(torch.nn.functional.cross_entropy(scores, columns, reduction="none"), weights)
    value = losses.sampled_softmax(queries, candidates, columns, masked_columns=listed, weights=weights)
    _same(value, plain, (queries, candidates))
    value = losses.blocked(losses.bpr_max, queries, candidates, columns, masked_columns=listed, weights=weights)
    loops = [
        losses.bpr_max(torch.cat((row[own, None], row[~hidden & (torch.arange(20) != own)]))[None], torch.tensor([0]))
        for row, own, hidden in zip(queries @ candidates.T, columns, masked, strict=True)
    ]
    _same(value, losses.mean(torch.cat(loops), weights), (queries, candidates))


@pytest.mark.parametrize("corrected", [False, True])
def test_bfloat16_comes_close_for_any_shape(corrected: bool) -> None:
    for num, num_candidates in ((3, 5), (300, 257), (256, 512), (513, 1000)):
        queries, candidates, columns, weights = _problem(num, num_candidates, torch.float32)
        log_prob = torch.linspace(-3, 0, num_candidates) if corrected else None
        full = losses.sampled_softmax(queries, candidates, columns, log_prob=log_prob, weights=weights)
        with torch.autocast("cpu", torch.bfloat16):
            low = losses.sampled_softmax(queries, candidates, columns, log_prob=log_prob, weights=weights)
        assert low.dtype == torch.float32
        torch.testing.assert_close(low, full, rtol=0.01, atol=0)
        for one, other in zip(
            torch.autograd.grad(low, (queries, candidates)),
            torch.autograd.grad(full, (queries, candidates)),
            strict=True,
        ):
            assert one.dtype == torch.float32
            assert (one - other).norm() < 0.02 * other.norm()


def test_a_softmax_over_100_000_items_takes_less_than_300_mb() -> None:
    done = subprocess.run([sys.executable, BENCHMARK, "--memory"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert (found["items"], found["targets"]) == (100_000, 4096)
    assert 0 < found["peak_mb"] < 300


def test_a_positive_without_negatives_costs_nothing_that_learns() -> None:
    scores, own = torch.tensor([[1.0, -torch.inf]], requires_grad=True), torch.tensor([0])
    for loss in (losses.bpr_max, losses.top1_max):
        (gradient,) = torch.autograd.grad(loss(scores, own).sum(), scores)
        assert gradient.tolist() == [[0.0, 0.0]]


def test_an_uncorrected_positive_stands_for_itself_alone() -> None:
    queries, candidates, columns, weights = _problem(300, 20)
    log_prob = torch.linspace(-5, -0.1, 20, dtype=torch.float64)
    scores = queries @ candidates.T - log_prob
    scores = scores.scatter_add(1, columns[:, None], log_prob[columns][:, None])
    plain = losses.mean(torch.nn.functional.cross_entropy(scores, columns, reduction="none"), weights)
    value = losses.sampled_softmax(
        queries, candidates, columns, log_prob=log_prob, weights=weights, corrects_positive=False
    )
    _same(value, plain, (queries, candidates))


@pytest.mark.parametrize("uncorrected", [False, True])
def test_with_pools_each_group_meets_its_own_candidates_alone(uncorrected: bool) -> None:
    """7 candidates are everybody's, then come 4, 0 and 5 of one group each; the second group is empty."""
    queries, candidates, _, weights = _problem(300, 16)
    pools = Pools((0, 120, 120, 300), (7, 11, 11, 16))
    met = [list(range(11)), [*range(7), *range(11, 16)]]
    generator = torch.Generator().manual_seed(3)
    log_prob = torch.linspace(-5, -0.1, 16, dtype=torch.float64)
    columns = torch.cat([torch.randint(0, len(met[0]), (120,), generator=generator),
                         torch.randint(0, len(met[1]), (180,), generator=generator)])  # fmt: skip
    plain = []
    for rows, own in ((slice(0, 120), met[0]), (slice(120, 300), met[1])):
        scores, column = queries[rows] @ candidates[own].T - log_prob[own], columns[rows]
        if uncorrected:
            scores = scores.scatter_add(1, column[:, None], log_prob[own][column][:, None])
        plain.append(torch.nn.functional.cross_entropy(scores, column, reduction="none"))
    value = losses.sampled_softmax(
        queries,
        candidates,
        columns,
        log_prob=log_prob,
        weights=weights,
        pools=pools,
        corrects_positive=not uncorrected,
    )
    _same(value, losses.mean(torch.cat(plain), weights), (queries, candidates))
    assert pools.places(columns).tolist() == [met[number >= 120][column] for number, column in enumerate(columns)]
    with torch.autocast("cpu", torch.bfloat16):
        low = losses.sampled_softmax(
            queries.float(), candidates.float(), columns, log_prob=log_prob.float(), weights=weights.float(),
            pools=pools, corrects_positive=not uncorrected,
        )  # fmt: skip
    torch.testing.assert_close(low.double(), value, rtol=0.01, atol=0)


@pytest.mark.parametrize("near", [blocked.NEAR, 0.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_positives_that_share_a_query_are_as_if_each_had_its_own(
    dtype: torch.dtype, near: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocked, "NEAR", near)
    queries, candidates, columns, weights = _problem(700, 30, dtype)
    owner = torch.randint(0, 580, (700,), generator=torch.Generator().manual_seed(1)).sort().values
    few, own = queries[:600].detach().requires_grad_(), torch.arange(700)  # several blocks; the last have no positive
    masked = torch.rand(600, 30, generator=torch.Generator().manual_seed(2)) < 0.2
    masked[owner, columns] = True
    masked[3] = True  # nothing to be compared with
    log_prob = torch.rand(30, generator=torch.Generator().manual_seed(3), dtype=dtype)
    others = masked[owner]
    others[own, columns] = False
    value, plain = (
        losses.sampled_softmax(
            given, candidates, columns, temperature=0.5, log_prob=log_prob, masked=hidden, weights=weights, query=query
        )
        for given, hidden, query in ((few, masked, owner), (few[owner], others, None))
    )
    _same(value, plain, (few, candidates))
