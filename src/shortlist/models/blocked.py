"""Losses over many candidates, a block of queries at a time with the gradient computed on the way.

No table of all queries by all candidates is ever kept: memory is that of one block. Under autocast the products are
taken in its type. What is computed of a block's logits is in the ``rows`` functions; see :mod:`shortlist.models.losses`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from shortlist.pools import Pools

QUERIES = 512  # whose logits are in memory (and in cache) at a time,
LOGITS = 1 << 24  # but no more than so many logits: 64 MB
ROWS = 64  # blocks of queries are filled up to a multiple of this,
COLUMNS = 256  # and the candidates of a sample are filled up to a multiple of this
GATHERED = 1 << 22  # numbers in the vectors of own negatives that are in memory at a time

# From a block's logits (R, M) and its place among the queries to the rows' losses (R,) and the logits' slopes (R, M).
Rows = Callable[[Tensor, slice], tuple[Tensor, Tensor]]


def flat_places(logits: Tensor, columns: Tensor) -> Tensor:
    """Where the ``columns`` (R, …) of each row of ``logits`` (R, M) lie in them laid out flat (R, …)."""
    begins = torch.arange(len(logits), device=logits.device) * logits.shape[1]
    return begins.view(-1, *(1,) * (columns.dim() - 1)) + columns


def softmax_rows(columns: Tensor) -> Rows:
    """Cross-entropy of the candidates ``columns`` (R,) among all of them; the slopes lie where the logits lay."""

    def rows(logits: Tensor, block: slice) -> tuple[Tensor, Tensor]:
        chance, column = torch.softmax(logits, dim=1, out=logits), columns[block]
        own = chance.gather(1, column[:, None]).squeeze(1)
        chance.view(-1).index_copy_(0, flat_places(chance, column), own - 1)  # scatter_ takes 20 times as long
        wide = torch.float64 if own.dtype == torch.float64 else torch.float32
        return -torch.log(own.to(wide).clamp(min=torch.finfo(wide).tiny)), chance

    return rows


def binary_rows(columns: Tensor, negatives: Tensor, *, beta: float) -> Rows:
    """``(beta * softplus(-positive) + sum_n softplus(negative_n)) / (1 + N)`` for own negatives (R, N)."""

    def rows(logits: Tensor, block: slice) -> tuple[Tensor, Tensor]:
        chosen = torch.cat((columns[block, None], negatives[block]), dim=1)  # (R, 1+N), the positive first
        values, slopes = _binary(logits.gather(1, chosen), beta)
        return values, torch.zeros_like(logits).scatter_add_(1, chosen, slopes.to(logits.dtype))

    return rows


def differentiated(loss: Callable[[Tensor, Tensor], Tensor], columns: Tensor) -> Rows:
    """Any ``loss(scores, columns)`` (R,) of a block's scores (R, M), its slopes found by autograd."""

    def rows(logits: Tensor, block: slice) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            wide = logits.float() if logits.dtype != torch.float64 else logits
            scores = wide.detach().requires_grad_()
            values = loss(scores, columns[block])
            (slopes,) = torch.autograd.grad(values.sum(), scores)
        return values.detach(), slopes

    return rows


def _binary(logits: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """The loss (R,) of logits (R, 1+N) whose first column is the positive, and its slopes (R, 1+N)."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    slopes = torch.sigmoid(logits).div_(logits.shape[1])
    slopes[:, 0] = beta * (slopes[:, 0] - 1 / logits.shape[1])
    losses = F.softplus(logits)
    losses[:, 0] = beta * F.softplus(-logits[:, 0])
    return losses.mean(1), slopes


def _low_precision(tensor: Tensor) -> torch.dtype:
    kind = tensor.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else tensor.dtype


def _filled(rows: Tensor, missing: int) -> Tensor:
    """The rows (R, D) with ``missing`` rows of 0 below them."""
    return F.pad(rows, (0, 0, 0, missing)) if missing else rows


def _met(values: Tensor, common: int, own: slice) -> Tensor:
    """The first ``common`` of the values (M, …) and those of a group's own; no copy where they are neighbours."""
    return values[: own.stop] if own.start == common else torch.cat((values[:common], values[own]))


def _even(rows: slice, size: int, multiple: int) -> Iterator[slice]:
    """Blocks of at most ``size`` of the rows, about equally long."""
    num = rows.stop - rows.start
    each = -(-num // max(-(-num // size), 1))
    each = min(each + -each % multiple, size)
    for start in range(rows.start, rows.stop, max(each, 1)):
        yield slice(start, min(start + each, rows.stop))


class Blocked(torch.autograd.Function):
    """The weighted mean of ``rows`` over logits ``scale * q·c - log_prob`` of queries (R, D) and candidates (M, D).

    In low precision, blocks and samples are filled up to shapes that come again: libraries prepare such a product anew
    for every shape, which takes several times as long as the product.
    """

    @staticmethod
    def forward(
        context: Any,
        rows: Rows,
        queries: Tensor,
        candidates: Tensor,
        scale: float,
        log_prob: Tensor | None,
        weights: Tensor,
        pools: Pools,
    ) -> Tensor:
        share = weights / weights.sum().clamp(min=1e-9)  # (R,)
        total = queries.new_zeros(())
        to_queries, to_candidates = torch.empty_like(queries), torch.zeros_like(candidates)
        low, common = _low_precision(queries), pools.own[0]
        wide = 1 if low == queries.dtype or log_prob is None else COLUMNS
        most = max(own.stop - own.start for _, own in pools) + common
        most += -most % wide
        at_once = QUERIES if queries.device.type == "cpu" else len(queries)  # a GPU waits for small pieces of work
        size = max(1, min(at_once, LOGITS // max(most, 1)))
        with torch.autocast(queries.device.type, enabled=False):
            narrow, correction = candidates.to(low), None if log_prob is None else log_prob.to(low)
            memory = narrow.new_empty(size * most)  # used again: fresh memory costs as much as a product
            for of_pool, own in pools:
                met, less = _met(narrow, common, own), None if correction is None else _met(correction, common, own)
                num, missing = len(met), -len(met) % wide
                if less is not None:
                    met, less = _filled(met, missing), F.pad(less, (0, missing), value=torch.inf)
                for block in _even(of_pool, size, 1 if low == queries.dtype else ROWS):
                    here = block.stop - block.start
                    missing = 0 if low == queries.dtype else min(-here % ROWS, size - here)
                    scaled = queries[block] * scale
                    out = memory[: (here + missing) * len(met)].view(here + missing, len(met))
                    logits = torch.mm(_filled(scaled.to(low), missing), met.T, out=out)[:here]
                    if less is not None:
                        logits.sub_(less)
                    values, slopes = rows(logits, block)
                    total += (values * share[block]).sum()
                    slopes = _filled(slopes.to(low), missing)
                    part = share[block, None]
                    to_queries[block] = (slopes @ met)[:here].to(queries.dtype) * (scale * part)
                    to_met = slopes.T @ _filled((scaled * part).to(low), missing)
                    to_candidates[:common] += to_met[:common]
                    to_candidates[own] += to_met[common:num]
        context.save_for_backward(to_queries, to_candidates)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        to_queries, to_candidates = context.saved_tensors
        return None, to_queries * gradient, to_candidates * gradient, None, None, None, None


class GatheredNegatives(torch.autograd.Function):
    """What :func:`binary_rows` computes, from the vectors of the negatives alone: for catalogues too large for products."""

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
        share = weights / weights.sum().clamp(min=1e-9)
        total = queries.new_zeros(())
        to_queries, to_candidates = torch.empty_like(queries), torch.zeros_like(candidates)
        size = max(1, GATHERED // ((1 + negatives.shape[1]) * queries.shape[1]))
        with torch.autocast(queries.device.type, enabled=False):
            for start in range(0, len(queries), size):
                block = slice(start, min(start + size, len(queries)))
                chosen = torch.cat((columns[block, None], negatives[block]), dim=1)  # (block, 1+N)
                vectors, scaled = candidates[chosen], queries[block] * scale
                values, slopes = _binary(torch.bmm(vectors, scaled[:, :, None]).squeeze(2), beta)
                total += (values * share[block]).sum()
                slopes = slopes.to(queries.dtype) * share[block, None]
                to_queries[block] = torch.bmm(slopes[:, None], vectors).squeeze(1) * scale
                outer = slopes[:, :, None] * scaled[:, None]  # (block, 1+N, D)
                # index_add_ would do the same, a row at a time where results must repeat
                to_candidates.index_put_((chosen.flatten(),), outer.flatten(0, 1), accumulate=True)
        context.save_for_backward(to_queries, to_candidates)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        to_queries, to_candidates = context.saved_tensors
        return to_queries * gradient, to_candidates * gradient, None, None, None, None, None
