"""Losses over many candidates, a block of queries at a time with the gradient computed on the way.

No table of all queries by all candidates is ever kept: memory is that of one block. Under autocast the products are
taken in its type, all else in float32. See :mod:`shortlist.models.losses` for what is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

QUERIES = 128  # whose logits are in memory (and in cache) at a time,
LOGITS = 1 << 24  # but no more than so many logits: 64 MB
DENSE_PER_NEGATIVE = 64  # candidates per negative up to which a product with all of them is faster than gathering


def _low_precision(tensor: Tensor) -> torch.dtype:
    kind = tensor.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else tensor.dtype


def _blocks(num_queries: int, num_candidates: int) -> list[tuple[int, int]]:
    size = max(1, min(QUERIES, LOGITS // max(num_candidates, 1)))
    return [(start, min(start + size, num_queries)) for start in range(0, num_queries, size)]


class SampledSoftmax(torch.autograd.Function):
    """Mean of ``logsumexp(logits) - logits[own]`` for logits ``scale * q·c - log_prob``, weighted by ``weights``."""

    @staticmethod
    def forward(
        context: Any,
        queries: Tensor,
        candidates: Tensor,
        columns: Tensor,
        scale: float,
        log_prob: Tensor | None,
        masked: Tensor | None,
        weights: Tensor,
    ) -> Tensor:
        share = (weights / weights.sum().clamp(min=1e-9))[:, None]  # (R, 1)
        total = queries.new_zeros(())
        wanted = any(context.needs_input_grad[:2])
        low = _low_precision(queries)
        to_queries, to_candidates = torch.empty_like(queries), torch.zeros_like(candidates)
        with torch.autocast(queries.device.type, enabled=False):
            narrow, smallest = candidates.to(low), torch.finfo(queries.dtype).tiny
            for start, stop in _blocks(len(queries), len(candidates)):
                block, column = queries[start:stop] * scale, columns[start:stop, None]
                logits = block.to(low) @ narrow.T  # (block, M)
                if log_prob is not None:
                    logits.sub_(log_prob)
                if masked is not None:
                    logits.masked_fill_(masked[start:stop], -torch.inf)
                chance = torch.softmax(logits, dim=1)
                own = chance.gather(1, column).to(queries.dtype).clamp(min=smallest)
                total -= (torch.log(own) * share[start:stop]).sum()
                if wanted:  # the slope of a logit is its chance, less 1 for the positive
                    slopes = chance.scatter_(1, column, (own - 1).to(low))
                    to_queries[start:stop] = (slopes @ narrow).to(queries.dtype) * (scale * share[start:stop])
                    to_candidates += slopes.T @ (block * share[start:stop]).to(low)
        context.save_for_backward(to_queries, to_candidates)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        to_queries, to_candidates = context.saved_tensors
        return to_queries * gradient, to_candidates * gradient, None, None, None, None, None


class ManyNegatives(torch.autograd.Function):
    """Mean of ``(beta * softplus(-positive) + sum_n softplus(negative_n)) / (1 + N)``, weighted by ``weights``.

    Every query has negatives (R, N) of its own. With few candidates a product with all of them is faster than gathering
    the vectors of those negatives.
    """

    @staticmethod
    def forward(
        context: Any,
        queries: Tensor,
        candidates: Tensor,
        columns: Tensor,
        negatives: Tensor,
        scale: float,
        beta: float,
        weights: Tensor,
    ) -> Tensor:
        num = negatives.shape[1]
        share = weights / weights.sum().clamp(min=1e-9) / (1 + num)
        total = queries.new_zeros(())
        low = _low_precision(queries)
        to_queries, to_candidates = torch.empty_like(queries), torch.zeros_like(candidates)
        is_dense = len(candidates) <= DENSE_PER_NEGATIVE * num
        with torch.autocast(queries.device.type, enabled=False):
            narrow = candidates.to(low)
            for start, stop in _blocks(len(queries), max(len(candidates) if is_dense else num * queries.shape[1], 1)):
                block, column, against = queries[start:stop].to(low), columns[start:stop, None], negatives[start:stop]
                part = share[start:stop, None]
                chosen = torch.cat((column, against), dim=1)  # (block, 1+N), the positive first
                if is_dense:
                    logits = (block @ narrow.T).gather(1, chosen).to(queries.dtype).mul_(scale)
                else:
                    vectors = narrow[chosen]  # (block, 1+N, D)
                    logits = torch.bmm(vectors, block[:, :, None]).squeeze(2).to(queries.dtype).mul_(scale)
                slopes = torch.sigmoid(logits)
                slopes[:, 0] = beta * (slopes[:, 0] - 1)
                slopes.mul_(part * scale)
                logits[:, 0].neg_()
                rows = F.softplus(logits)
                rows[:, 0].mul_(beta)
                total += rows.sum(1).mul_(share[start:stop]).sum()
                if is_dense:
                    wide = queries.new_zeros(len(block), len(candidates)).scatter_add_(1, chosen, slopes).to(low)
                    to_queries[start:stop] = wide @ narrow
                    to_candidates += wide.T @ block
                else:
                    to_queries[start:stop] = torch.bmm(slopes.to(low)[:, None], vectors).squeeze(1)
                    outer = slopes[:, :, None] * queries[start:stop, None]  # (block, 1+N, D)
                    # index_add_ would do the same, a row at a time where results must repeat
                    to_candidates.index_put_((chosen.flatten(),), outer.flatten(0, 1), accumulate=True)
        context.save_for_backward(to_queries, to_candidates)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        to_queries, to_candidates = context.saved_tensors
        return to_queries * gradient, to_candidates * gradient, None, None, None, None, None


class Blocked(torch.autograd.Function):
    """The weighted mean of ``rows(scores, columns)`` (R,) for scores (R, M) of queries and candidates."""

    @staticmethod
    def forward(
        context: Any,
        rows: Callable[[Tensor, Tensor], Tensor],
        queries: Tensor,
        candidates: Tensor,
        columns: Tensor,
        log_prob: Tensor | None,
        weights: Tensor,
    ) -> Tensor:
        share = weights / weights.sum().clamp(min=1e-9)
        total = queries.new_zeros(())
        low = _low_precision(queries)
        to_queries, to_candidates = torch.empty_like(queries), torch.zeros_like(candidates)
        with torch.autocast(queries.device.type, enabled=False):
            narrow = candidates.to(low)
            for start, stop in _blocks(len(queries), len(candidates)):
                block = queries[start:stop].to(low)
                with torch.enable_grad():
                    scores = (block @ narrow.T).to(queries.dtype)
                    if log_prob is not None:
                        scores -= log_prob
                    scores.requires_grad_()
                    value = (rows(scores, columns[start:stop]) * share[start:stop]).sum()
                    (slopes,) = torch.autograd.grad(value, scores)
                total += value.detach()
                slopes = slopes.to(low)
                to_queries[start:stop] = slopes @ narrow
                to_candidates += slopes.T @ block
        context.save_for_backward(to_queries, to_candidates)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        to_queries, to_candidates = context.saved_tensors
        return None, to_queries * gradient, to_candidates * gradient, None, None, None
