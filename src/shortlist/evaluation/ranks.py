"""Answered lists and what came next to the 0-based rank of every target.

It does not know who answered, nor what is made of the ranks.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from shortlist.contracts import Candidates, Filter
from shortlist.errors import DataError, SettingsError

Ties = Literal["mean", "optimistic", "pessimistic", "index"]


def ranks(candidates: Candidates, targets: Tensor, *, is_cut: bool = False) -> Tensor:
    """The rank of each target in the answered list of its row: 0 is best, ``inf`` is not found.

    ``targets`` (B,S) holds item indices, padded with 0. Returns (B,S) float64; padding and the repetition of a target
    are ``inf``, and of an item that is answered twice only the first place counts.

    A target with ``b`` better items above it in a group of ``n`` equally scored ones has the rank ``b + (n - 1) / 2``,
    its mean over all orders of the group. The ``j``-th of ``t`` targets in one group has ``b + j (n + 1) / (t + 1) - 1``,
    the mean of the ``j``-th smallest place, so that tied targets never share a place and no metric exceeds 1.

    ``is_cut`` says that the lists are the best of more items: a tie that reaches the last slot of a full list may go on
    behind it, and its targets count as not found.

    Raises ``DataError`` where scores rise along a list or are NaN.

    >>> answered = Candidates(torch.tensor([[4, 2, 9, 7]]), torch.tensor([[0.9, 0.5, 0.5, 0.1]]))
    >>> ranks(answered, torch.tensor([[4, 9, 1, 0]])).tolist()
    [[0.0, 1.5, inf, inf]]
    """
    if not is_ordered(candidates):
        raise DataError(
            "Scores of an answered list are NaN or rise from one slot to the next. Answer best first, with finite scores."
        )
    targets = distinct(targets)
    width = candidates.items.shape[1]
    if width == 0 or targets.shape[1] == 0:
        return torch.full(targets.shape, torch.inf, dtype=torch.float64)
    first = _first_columns(candidates.items, targets)  # (B, C+S)
    is_first = first[:, :width] == torch.arange(width)
    above = torch.zeros(len(first), width + 1, dtype=torch.int64)  # different items above each slot, and in all
    torch.cumsum(is_first & candidates.valid, 1, out=above[:, 1:])

    found = (first[:, width:] < width) & (targets != 0)  # (B, S)
    slot = first[:, width:].clamp(max=width - 1)
    start, stop = _runs(_scores(candidates))  # (B, C) both: the group of equal scores
    group = start.gather(1, slot).masked_fill(~found, width)  # (B, S) named by its first slot
    end = stop.gather(1, slot)
    better = above.gather(1, group)
    equal = above.gather(1, end) - better
    number, of = _numbered(group)
    rank = better + number * (equal + 1).double() / (of + 1) - 1
    if is_cut:
        found &= ~((end == width) & candidates.valid[:, -1:])
    return rank.masked_fill(~found, torch.inf)


def found(items: Tensor, targets: Tensor) -> Tensor:
    """Which targets (B,S) occur among ``items`` (B,C) of their row, in whatever order; padding 0 never does.

    >>> found(torch.tensor([[7, 3, 0]]), torch.tensor([[3, 4, 0]])).tolist()
    [[True, False, False]]
    """
    first = _first_columns(items, targets)[:, items.shape[1] :]
    return (first < items.shape[1]) & (targets != 0)


def distinct(targets: Tensor) -> Tensor:
    """The targets (B,S) with every repetition in a row set to 0; the first stays.

    >>> distinct(torch.tensor([[5, 2, 5, 0]])).tolist()
    [[5, 2, 0, 0]]
    """
    if targets.shape[1] < 2:
        return targets
    by_item, order = targets.sort(dim=1, stable=True)
    start, _ = _runs(by_item)
    return targets.masked_fill(_unsort(start != torch.arange(targets.shape[1]), order), 0)


def is_ordered(candidates: Candidates) -> bool:
    """Whether every list runs from its best score down, empty slots last, without NaN."""
    scores = _scores(candidates)
    falls = scores[:, :-1] >= scores[:, 1:]
    return bool(falls.all()) and not bool(scores.isnan().any())


def ranks_of_scores(scores: Tensor, column: Tensor, *, valid: Tensor | None = None, ties: Ties = "mean") -> Tensor:
    """The rank of one target per row in a matrix of scores: 0 is best.

    ``scores`` (B,C), ``column`` (B,) where the target stands, ``valid`` (B,C) which others it is ranked among (None:
    all). Returns (B,) float64. ``ties`` says what equal scores count: half of them ``mean``, none ``optimistic``, all
    ``pessimistic``, those in an earlier column ``index``. Where optimistic and pessimistic figures differ by much, the
    scores are saturated.

    >>> ranks_of_scores(torch.tensor([[0.5, 0.9, 0.5]]), torch.tensor([2])).tolist()
    [1.5]
    """
    if ties not in ("mean", "optimistic", "pessimistic", "index"):
        raise SettingsError(f"ties is {ties!r}. It is one of: mean, optimistic, pessimistic, index.")
    if scores.isnan().any():
        raise DataError("Scores hold NaN, which has no rank. Look for overflow in the model that made them.")
    own = scores.gather(1, column[:, None])  # (B, 1)
    others = torch.arange(scores.shape[1]) != column[:, None]  # (B, C)
    if valid is not None:
        others &= valid
    better = ((scores > own) & others).sum(1)
    equal = (scores == own) & others
    if ties == "index":
        equal &= torch.arange(scores.shape[1]) < column[:, None]
    share = {"mean": 0.5, "optimistic": 0.0, "pessimistic": 1.0, "index": 1.0}[ties]
    return better + share * equal.sum(1).double()


def given_candidates(negatives: Tensor, targets: Tensor) -> Filter:
    """The filter of a sampled protocol: rank the targets (B,S) among the given ``negatives`` (B,N) and nothing else.

    A target that was drawn as its own negative stands in the list once, as in the published NCF evaluation, where this
    concerns 156 of the 6,040 users of MovieLens-1M. Sampled figures are higher than those over all items, and may put
    models in another order (Krichene and Rendle, 2020): use them only to compare with papers that used them.

    >>> given_candidates(torch.tensor([[3, 5]]), torch.tensor([[5]])).allowed
    tensor([[3, 5, 0]])
    """
    return Filter(allowed=distinct(torch.cat([negatives, targets], dim=1)))


def _scores(candidates: Candidates) -> Tensor:
    return candidates.scores.masked_fill(~candidates.valid, -torch.inf)


def _first_columns(items: Tensor, targets: Tensor) -> Tensor:
    """For each column of items (B,C) and targets (B,S) side by side, the first that holds the same item (B,C+S)."""
    by_item, order = torch.cat([items, targets], dim=1).sort(dim=1, stable=True)
    start, _ = _runs(by_item)
    return _unsort(order.gather(1, start), order)


def _runs(values: Tensor) -> tuple[Tensor, Tensor]:
    """First and one-past-last place of the run of equal values that each entry of sorted rows (B,N) lies in.

    Two scans; a binary search would do the same, but hands even small batches to a pool of threads.
    """
    width = values.shape[1]
    place = torch.arange(width)
    begins = torch.ones(values.shape, dtype=torch.bool)
    begins[:, 1:] = values[:, 1:] != values[:, :-1]
    ends = torch.ones(values.shape, dtype=torch.bool)
    ends[:, :-1] = begins[:, 1:]
    start = torch.where(begins, place, 0).cummax(1).values
    stop = torch.where(ends, place + 1, width).flip(1).cummin(1).values.flip(1)
    return start, stop


def _unsort(values: Tensor, order: Tensor) -> Tensor:
    """The values (B,N) of sorted rows in the order from before the sort."""
    return torch.empty_like(values).scatter_(1, order, values)


def _numbered(group: Tensor) -> tuple[Tensor, Tensor]:
    """Number the entries of each row (B,S) that share a group: 1, 2, … and how many they are."""
    if group.shape[1] == 1:
        one = torch.ones_like(group)
        return one, one
    by_group, order = group.sort(dim=1, stable=True)
    start, stop = _runs(by_group)
    number = torch.arange(1, group.shape[1] + 1) - start
    return _unsort(number, order), _unsort(stop - start, order)
