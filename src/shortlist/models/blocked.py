"""Losses over many candidates, a block of queries at a time with the gradient computed on the way.

No table of all queries by all candidates is ever kept: memory is that of one block. Under autocast the products are
taken in its type. What is computed of a block's logits is in the ``rows`` functions; see :mod:`shortlist.models.losses`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shortlist.pools import Pools

QUERIES = 512  # whose logits are in memory (and in cache) at a time,
LOGITS = 1 << 24  # but no more than so many logits: 64 MB
ROWS = 64  # blocks of queries are filled up to a multiple of this,
COLUMNS = 64  # and the candidates of a sample are filled up to a multiple of this
NEAR = 60.0  # logits up to which a sum of their exponentials stays far from what 32 bits can hold
FAR_BELOW = 1e30  # what is left of a logit's exponential is 0
GATHERED = 1 << 22  # numbers in the vectors of own negatives that are in memory at a time

# From a block's logits (R, M) and its place among the queries to the rows' losses (R,) and the logits' slopes (R, M), each
# row of which still is to be multiplied by the third (R,), where there is one.
Rows = Callable[[Tensor, slice], tuple[Tensor, Tensor, Tensor | None]]


def flat_places(logits: Tensor, columns: Tensor) -> Tensor:
    """Where the ``columns`` (R, …) of each row of ``logits`` (R, M) lie in them laid out flat (R, …)."""
    begins = torch.arange(len(logits), device=logits.device) * logits.shape[1]
    return begins.view(-1, *(1,) * (columns.dim() - 1)) + columns


def push_away(logits: Tensor, masked: Tensor) -> None:
    """Put the ``masked`` (R, M) of ``logits`` (R, M or more) far below the others: three to five times as fast as -inf."""
    logits[:, : masked.shape[1]].sub_(masked.view(torch.uint8), alpha=FAR_BELOW)


def softmax_rows(columns: Tensor) -> Rows:
    """Cross-entropy of the candidates ``columns`` (R,) among all of them; the slopes lie where the logits lay."""

    def rows(logits: Tensor, block: slice) -> tuple[Tensor, Tensor, Tensor | None]:
        chance, column = torch.softmax(logits, dim=1, out=logits), columns[block]
        own = chance.gather(1, column[:, None]).squeeze(1)
        chance.view(-1).index_copy_(0, flat_places(chance, column), own - 1)  # scatter_ takes 20 times as long
        wide = torch.float64 if own.dtype == torch.float64 else torch.float32
        return -torch.log(own.to(wide).clamp(min=torch.finfo(wide).tiny)), chance, None

    return rows


def joint_softmax_rows(
    columns: Tensor, query: Tensor, masked: Tensor, weights: Tensor | None, *, num_queries: int, largest: float
) -> tuple[Rows, Tensor]:
    """Cross-entropy of each of a query's positives among itself and the candidates that are not ``masked`` (R, M).

    Positive ``columns`` (E,), which are masked, belong to ``query`` (E,), ascending, and count ``weights`` (E,). Gives
    rows that are the mean over a query's positives, and how much each query counts (R,). No logit is further from 0 than
    ``largest``: where that is not far, exponentials are taken as they are.

    With z the log of the sum of exponentials over the rest, a positive's loss is softplus(z - s), whose slope is
    -sigmoid(z - s) at s and sigmoid(z - s) times the softmax over the rest at the others.
    """
    if weights is None:
        weights = torch.ones(len(query), device=query.device)
    total = weights.new_zeros(num_queries).index_add_(0, query, weights)
    share = weights / total[query].clamp(min=1e-9)  # (E,)
    begins = torch.searchsorted(query, torch.arange(num_queries + 1, device=query.device)).tolist()

    def rows(logits: Tensor, block: slice) -> tuple[Tensor, Tensor, Tensor | None]:
        wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
        least = torch.finfo(wide).tiny
        those = slice(begins[block.start], begins[block.stop])
        row, part, flat = query[those] - block.start, share[those].to(wide), logits.view(-1)
        places = row * logits.shape[1] + columns[those]
        own = flat[places].to(wide)
        push_away(logits, masked[block])
        if largest <= NEAR:
            sums = logits.exp_().sum(1, dtype=wide).clamp(min=least)  # (R,); with it the logits' place holds a softmax
            rest = torch.log(sums)
        else:
            top, sums = logits.amax(1).to(wide), torch.ones(len(logits), dtype=wide, device=logits.device)
            rest = top - torch.log(torch.softmax(logits, dim=1, out=logits).amax(1).to(wide))
        gap = rest[row] - own
        slopes = torch.sigmoid(gap) * part
        found = torch.zeros(len(logits), 2, dtype=wide, device=logits.device)
        found.index_add_(0, row, torch.stack((F.softplus(gap) * part, slopes), dim=1))
        strength = found[:, 1].clamp(min=least) / sums
        flat.index_add_(0, places, (-slopes / strength[row]).to(flat.dtype))  # where the masked ones have 0
        return found[:, 0], logits, strength

    return rows, total


def binary_rows(columns: Tensor, negatives: Tensor, *, beta: float) -> Rows:
    """``(beta * softplus(-positive) + sum_n softplus(negative_n)) / (1 + N)`` for own negatives (R, N)."""

    def rows(logits: Tensor, block: slice) -> tuple[Tensor, Tensor, Tensor | None]:
        chosen = torch.cat((columns[block, None], negatives[block]), dim=1)  # (R, 1+N), the positive first
        values, slopes = _binary(logits.gather(1, chosen), beta)
        return values, torch.zeros_like(logits).scatter_add_(1, chosen, slopes.to(logits.dtype)), None

    return rows


def differentiated(loss: Callable[[Tensor, Tensor], Tensor], columns: Tensor) -> Rows:
    """Any ``loss(scores, columns)`` (R,) of a block's scores (R, M), its slopes found by autograd."""

    def rows(logits: Tensor, block: slice) -> tuple[Tensor, Tensor, Tensor | None]:
        with torch.enable_grad():
            wide = logits.float() if logits.dtype != torch.float64 else logits
            scores = wide.detach().requires_grad_()
            values = loss(scores, columns[block])
            (slopes,) = torch.autograd.grad(values.sum(), scores)
        return values.detach(), slopes, None

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


def evenly(layers: nn.Module, rows: Tensor) -> Tensor:
    """``layers(rows)`` (R, …); in low precision with rows filled up to a number that comes again, as in :class:`Blocked`."""
    missing = -len(rows) % ROWS if _low_precision(rows).itemsize < 4 else 0
    found: Tensor = layers(_filled(rows, missing))
    return found[: len(rows)] if missing else found


def _filled(rows: Tensor, missing: int) -> Tensor:
    """The rows (R, D) with ``missing`` rows of 0 below them."""
    return F.pad(rows, (0, 0, 0, missing)) if missing else rows


class _Groups:
    """Candidates (M, D) and what is added to their logits (M,), as the groups of queries meet them."""

    def __init__(self, candidates: Tensor, more: Tensor | None, common: int, room: int) -> None:
        """All meet the first ``common``; with ``room`` they are filled up to as many, in memory that is used again."""
        self.all, self.common = (candidates, more), common
        self.kept = None
        if room:
            assert more is not None
            self.kept = candidates.new_empty(room, candidates.shape[1]), more.new_empty(room)
            for kept, values in zip(self.kept, (candidates, more), strict=True):
                kept[:common] = values[:common]

    def of(self, own: slice, multiple: int) -> tuple[Tensor, Tensor | None]:
        """The common ones, then a group's own, then as many of 0 that no query can choose as make up the multiple."""
        candidates, more = self.all
        if self.kept is None:
            if own.start == self.common:  # they are neighbours
                return candidates[: own.stop], None if more is None else more[: own.stop]
            vectors = torch.cat((candidates[: self.common], candidates[own]))
            return vectors, None if more is None else torch.cat((more[: self.common], more[own]))
        assert more is not None
        vectors, added = self.kept
        num = self.common + own.stop - own.start
        filled = num + -num % multiple
        vectors[self.common : num], added[self.common : num] = candidates[own], more[own]
        vectors[num:filled], added[num:filled] = 0, -torch.inf
        return vectors[:filled], added[:filled]


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
        is_low = low.itemsize < 4
        wide = COLUMNS if is_low and log_prob is not None else 1
        most = max(own.stop - own.start for _, own in pools) + common
        most += -most % wide
        at_once = QUERIES if queries.device.type == "cpu" else len(queries)  # a GPU waits for small pieces of work
        size = max(1, min(at_once, LOGITS // max(most, 1)))
        with torch.autocast(queries.device.type, enabled=False):
            narrow, correction = candidates.to(low), None if log_prob is None else log_prob.neg().to(low)
            memory = narrow.new_empty(size * most)  # used again: fresh memory costs as much as a product
            groups = _Groups(narrow, correction, common, most if wide > 1 else 0)
            for of_pool, own in pools:
                met, more = groups.of(own, wide)
                num = common + own.stop - own.start
                for block in _even(of_pool, size, ROWS if is_low else 1):
                    here = block.stop - block.start
                    missing = min(-here % ROWS, size - here) if is_low else 0
                    scaled = queries[block] * scale
                    out = memory[: (here + missing) * len(met)].view(here + missing, len(met))
                    narrowed = _filled(scaled.to(low), missing)
                    if more is None:
                        torch.mm(narrowed, met.T, out=out)
                    else:
                        torch.addmm(more, narrowed, met.T, out=out)
                    values, slopes, strength = rows(out[:here], block)
                    total += (values * share[block]).sum()
                    if slopes.data_ptr() == out.data_ptr():
                        out[here:] = 0
                        slopes = out
                    else:
                        slopes = _filled(slopes.to(low), missing)
                    part = share[block, None] if strength is None else (share[block] * strength)[:, None]
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
