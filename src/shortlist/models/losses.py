"""Losses as pure functions of scores: the mean over examples, weighted where the examples have weights (R,)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from shortlist.models.blocked import (
    Blocked,
    GatheredNegatives,
    Rows,
    binary_rows,
    differentiated,
    flat_places,
    joint_softmax_rows,
    push_away,
    softmax_rows,
)
from shortlist.pools import Pools

DENSE_PER_NEGATIVE = 64  # candidates per negative up to which a product with all of them is faster than gathering


def bce(positive: Tensor, negatives: Tensor, weights: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of positive logits (R,) and their negatives' logits (R, N), averaged over the 1+N of a row."""
    negatives = negatives.contiguous()  # of numbers that lie apart softplus takes five to twenty times as long
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
    masked_columns: Tensor | None = None,
    weights: Tensor | None = None,
    corrects_positive: bool = True,
    pools: Pools | None = None,
    query: Tensor | None = None,
) -> Tensor:
    """Cross-entropy over a sample of the items, in which each query's positive stands.

    ``queries`` (B, D) and ``candidates`` (M, D): the positive of query b is candidate ``columns[b]``, and a logit is their
    dot product over ``temperature``. ``log_prob`` (M,) is the log of the chance to meet a candidate in the sample;
    subtracting it makes the sampled softmax estimate the full one (Bengio & Senécal 2008; Yi et al. 2019,
    "Sampling-bias-corrected neural modeling", eq. 3). ``masked`` (B, M) candidates do not count, nor do
    those that ``masked_columns`` (B, S) lists for each query, its positive excepted. With ``pools`` a query meets the
    candidates of its group alone, and its columns count those.

    The positive of a query is in its sample for sure. Corrected like the others, as is usual, a rare one outweighs the
    rest and stops to learn early; with ``corrects_positive`` false it stands for itself alone, as it does in the full
    softmax (Khrylchenko et al. 2025, "Correcting the LogQ correction", without its weights).

    Queries may have several positives: ``query`` (E,), ascending, then says whose each of ``columns`` (E,) and of ``weights``
    (E,) is, and ``masked`` (B, M) holds the positives too. Each is compared with the rest alone. The value is the one
    that a query for each positive would have; the work is less.
    """
    if query is not None:
        assert masked is not None
        largest = _largest(queries, candidates, log_prob, temperature)
        rows, weights = joint_softmax_rows(columns, query, masked, weights, num_queries=len(queries), largest=largest)
        return _mean_of(rows, queries, candidates, 1 / temperature, log_prob, weights, None)
    rows = softmax_rows(columns)
    if log_prob is not None and not corrects_positive:
        places = columns if pools is None else pools.places(columns)
        rows = _with_positive(log_prob[places], columns, rows)
    if masked is not None:
        rows = _without(masked, rows)
    if masked_columns is not None:
        rows = _without_columns(masked_columns, columns, rows)
    return _mean_of(rows, queries, candidates, 1 / temperature, log_prob, weights, pools)


@torch.no_grad()
def _largest(queries: Tensor, candidates: Tensor, log_prob: Tensor | None, temperature: float) -> float:
    """What no logit is further from 0 than; on a GPU, which would have to be waited for, unknown."""
    if queries.device.type != "cpu":
        return float("inf")
    lengths = [float(torch.linalg.vector_norm(each, dim=1).max()) for each in (queries, candidates)]
    return lengths[0] * lengths[1] / temperature + (0.0 if log_prob is None else float(log_prob.abs().max()))


def _without(masked: Tensor, rows: Rows) -> Rows:
    """The same rows with the ``masked`` (R, M) logits out of the way."""

    def masked_rows(logits: Tensor, block: slice) -> tuple[Tensor, Tensor, Tensor | None]:
        push_away(logits, masked[block])
        return rows(logits, block)

    return masked_rows


def _with_positive(more: Tensor, columns: Tensor, rows: Rows) -> Rows:
    """The same rows with ``more`` (R,) on the logits in ``columns`` (R,)."""

    def raised_rows(logits: Tensor, block: slice) -> tuple[Tensor, Tensor, Tensor | None]:
        flat = logits.view(-1)
        own = flat_places(logits, columns[block])
        flat.index_copy_(0, own, flat[own] + more[block].to(flat.dtype))
        return rows(logits, block)

    return raised_rows


def _without_columns(masked: Tensor, columns: Tensor, rows: Rows) -> Rows:
    """The same rows with the logits in the columns ``masked`` (R, S) out of the way, but for those in ``columns`` (R,)."""

    def masked_rows(logits: Tensor, block: slice) -> tuple[Tensor, Tensor, Tensor | None]:
        flat, own = logits.view(-1), flat_places(logits, columns[block])
        kept = flat[own]
        others = flat_places(logits, masked[block]).flatten()
        flat.index_copy_(0, others, flat.new_full((len(others),), -torch.inf))
        flat.index_copy_(0, own, kept)
        return rows(logits, block)

    return masked_rows


def _mean_of(
    rows: Rows,
    queries: Tensor,
    candidates: Tensor,
    scale: float,
    log_prob: Tensor | None,
    weights: Tensor | None,
    pools: Pools | None,
) -> Tensor:
    if weights is None:
        weights = queries.new_ones(len(queries))
    if pools is None:
        pools = Pools.one(len(queries), len(candidates))
    value: Tensor = Blocked.apply(rows, queries, candidates, scale, log_prob, weights, pools)  # type: ignore[no-untyped-call]
    return value


def gbce(
    queries: Tensor,
    candidates: Tensor,
    columns: Tensor,
    negatives: Tensor,
    *,
    calibration: float = 0.75,
    temperature: float = 1.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Generalised binary cross-entropy (Petrov & Macdonald 2023, "gSASRec", eq. 7) of each query with own negatives.

    ``queries`` (R, D) and ``candidates`` (M, D), of which ``columns`` (R,) are the positives and ``negatives`` (R, N) were
    drawn uniformly. The positive's probability is taken to the power ``beta`` (see :func:`gbce_power`): ``calibration``
    t = 0 is plain binary cross-entropy, t = 1 makes the probabilities those of a full softmax.
    """
    beta = gbce_power(calibration, num_negatives=negatives.shape[1], num_items=len(candidates))
    if len(candidates) <= DENSE_PER_NEGATIVE * negatives.shape[1]:
        rows = binary_rows(columns, negatives, beta=beta)
        return _mean_of(rows, queries, candidates, 1 / temperature, None, weights, None)
    if weights is None:
        weights = queries.new_ones(len(queries))
    value: Tensor = GatheredNegatives.apply(queries, candidates, columns, negatives, 1 / temperature, beta, weights)  # type: ignore[no-untyped-call]
    return value


def gbce_power(calibration: float, *, num_negatives: int, num_items: int) -> float:
    """The power beta = a (t (1 - 1/a) + 1/a) = 1 - t (1 - a) for a = N / (I - 1) (gSASRec, eq. 8).

    >>> gbce_power(0.0, num_negatives=4, num_items=100), round(gbce_power(1.0, num_negatives=4, num_items=100), 4)
    (1.0, 0.0404)
    """
    rate = num_negatives / max(num_items - 1, 1)
    return 1 - calibration * (1 - rate)


def bpr_max(scores: Tensor, columns: Tensor, *, regularization: float = 0.0, elu: float = 0.0) -> Tensor:
    """BPR-max (Hidasi & Karatzoglou 2018, eq. 14 with the score regularisation of section 4), for each row (R,).

    ``scores`` (R, M) hold the positive in ``columns`` (R,), and negatives elsewhere, weighted by their softmax. Scores
    first go through ELU with that alpha; 0 leaves them as they are.
    """
    positive, scores, weights = _max_parts(scores, columns, elu)
    gap = torch.sigmoid(positive - scores)
    return -torch.log((weights * gap).sum(1) + 1e-24) + regularization * (weights * scores.square()).sum(1)


def top1_max(scores: Tensor, columns: Tensor, *, elu: float = 0.0) -> Tensor:
    """TOP1-max (Hidasi & Karatzoglou 2018, eq. 11), for each row (R,); arguments as of :func:`bpr_max`."""
    positive, scores, weights = _max_parts(scores, columns, elu)
    return (weights * (torch.sigmoid(scores - positive) + torch.sigmoid(scores.square()))).sum(1)


def _max_parts(scores: Tensor, columns: Tensor, elu: float) -> tuple[Tensor, Tensor, Tensor]:
    """The positives' scores (R, 1), all scores (R, M), and the negatives' softmax (R, M), 0 for the positive.

    A score of -inf is no negative.
    """
    left_out = scores == -torch.inf
    scores = scores.masked_fill(left_out, 0)
    if elu:
        scores = F.elu(scores, alpha=elu)
    column = columns[:, None]
    left_out = left_out.scatter(1, column, True)
    alone = left_out.all(1, keepdim=True)  # no negative at all
    weights = torch.softmax(scores.masked_fill(left_out & ~alone, -torch.inf), dim=1).masked_fill(left_out, 0)
    return scores.gather(1, column), scores, weights


def blocked(
    loss: Callable[[Tensor, Tensor], Tensor],
    queries: Tensor,
    candidates: Tensor,
    columns: Tensor,
    *,
    masked_columns: Tensor | None = None,
    weights: Tensor | None = None,
    pools: Pools | None = None,
) -> Tensor:
    """The mean of ``loss(scores, columns)`` (R,) over scores (R, M) that are never in memory all at once.

    Scores in the ``masked_columns`` (R, S) are -inf, but for those in ``columns``; ``pools`` as in :func:`sampled_softmax`.
    """
    rows = differentiated(loss, columns)
    if masked_columns is not None:
        rows = _without_columns(masked_columns, columns, rows)
    return _mean_of(rows, queries, candidates, 1.0, None, weights, pools)


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
        return rows.sum() / max(len(rows), 1)
    return (rows * weights).sum() / weights.sum().clamp(min=1e-9)
