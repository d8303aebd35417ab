"""Losses as pure functions of scores: the mean over examples, weighted where the examples have weights (R,)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 128  # queries whose logits are in memory (and in cache) at a time


def bce(positive: Tensor, negatives: Tensor, weights: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of positive logits (R,) and their negatives' logits (R, N), averaged over the 1+N of a row."""
    rows = (F.softplus(-positive) + F.softplus(negatives).sum(1)) / (1 + negatives.shape[1])
    return mean(rows, weights)


def bpr(positive: Tensor, negatives: Tensor, weights: Tensor | None = None) -> Tensor:
    """-log sigmoid(positive - negative) (Rendle et al. 2009, "BPR", eq. 4), for scores (R,) and (R, N)."""
    return mean(F.softplus(negatives - positive[:, None]).mean(1), weights)


def softmax(positive: Tensor, negatives: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy of the positive (R,) among itself and its negatives (R, N); a negative of -inf does not count."""
    return mean(torch.logsumexp(torch.cat((positive[:, None], negatives), dim=1), dim=1) - positive, weights)


def sampled_softmax(
    queries: Tensor,
    candidates: Tensor,
    columns: Tensor,
    *,
    temperature: float = 1.0,
    log_prob: Tensor | None = None,
    masked: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy over a sample of the items, in which each query's positive stands.

    ``queries`` (B, D) and ``candidates`` (M, D): the positive of query b is candidate ``columns[b]``, and a logit is their
    dot product over ``temperature``. ``log_prob`` (M,) is the log of the chance to meet a candidate in the sample;
    subtracting it makes the sampled softmax estimate the full one (Bengio & Senécal 2008; Yi et al. 2019,
    "Sampling-bias-corrected neural modeling", eq. 3). ``masked`` (B, M) candidates do not count.
    """
    if weights is None:
        weights = queries.new_ones(len(queries))
    if log_prob is None:
        log_prob = queries.new_zeros(len(candidates))
    value: Tensor = _SampledSoftmax.apply(queries, candidates, columns, 1 / temperature, log_prob, masked, weights)  # type: ignore[no-untyped-call]
    return value


class _SampledSoftmax(torch.autograd.Function):
    """The loss with its gradient computed on the way, a block of queries at a time: no (B, M) table is ever kept."""

    @staticmethod
    def forward(
        context: Any,
        queries: Tensor,
        candidates: Tensor,
        columns: Tensor,
        scale: float,
        log_prob: Tensor,
        masked: Tensor | None,
        weights: Tensor,
    ) -> Tensor:
        share = weights / weights.sum().clamp(min=1e-9)
        total = queries.new_zeros(())
        wanted = any(context.needs_input_grad[:2])
        to_queries, to_candidates = torch.empty_like(queries), torch.zeros_like(candidates)
        for start in range(0, len(queries), BLOCK):
            stop = min(start + BLOCK, len(queries))
            block = queries[start:stop]
            logits = torch.addmm(log_prob, block, candidates.T, beta=-1, alpha=scale)  # (block, M)
            if masked is not None:
                logits.masked_fill_(masked[start:stop], -torch.inf)
            column = columns[start:stop, None]
            own = logits.gather(1, column).squeeze(1)
            largest = logits.amax(dim=1, keepdim=True)
            summed = logits.sub_(largest).exp_().sum(dim=1, keepdim=True)
            total += ((torch.log(summed) + largest).squeeze(1) - own).mul_(share[start:stop]).sum()
            if wanted:
                logits.mul_(share[start:stop, None] * scale / summed)
                logits.scatter_add_(1, column, -share[start:stop, None] * scale)
                torch.mm(logits, candidates, out=to_queries[start:stop])
                to_candidates.addmm_(logits.T, block)
        context.save_for_backward(to_queries, to_candidates)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        to_queries, to_candidates = context.saved_tensors
        return to_queries * gradient, to_candidates * gradient, None, None, None, None, None


def mse(scores: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Squared error of predicted ratings (R,)."""
    return mean((scores - targets).square(), weights)


def list_softmax(scores: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
    """List-wise cross-entropy (Cao et al. 2007, "ListNet", top-one), for scores, labels and valid slots (B, C).

    Rows without a positive label teach nothing and are left out.
    """
    log_share = torch.log_softmax(scores.masked_fill(~valid, -torch.inf), dim=1).masked_fill(~valid, 0)
    wanted = labels * valid
    total = wanted.sum(1)  # (B,)
    per_row = -(wanted * log_share).sum(1) / total.clamp(min=1e-9)
    return mean(per_row, (total > 0).to(scores.dtype))


def mean(rows: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean of ``rows`` (R,), each counting ``weights`` (R,) times."""
    if weights is None:
        return rows.mean()
    return (rows * weights).sum() / weights.sum().clamp(min=1e-9)
