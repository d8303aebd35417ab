"""Searches and what came next to the share of held-out items among so many candidates: what more candidates would bring."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from shortlist.contracts import EvaluationBatch
from shortlist.evaluation.ranks import distinct, found
from shortlist.evaluation.stages import Search


def sizes_up_to(most: int, *, least: int, known: Sequence[int] = ()) -> tuple[int, ...]:
    """Rising numbers of candidates from ``least`` to ``most``, each about 1.6 times the one before, with those ``known``.

    >>> sizes_up_to(100, least=10, known=[50])
    (10, 16, 26, 50, 100)
    """
    fixed = {least, most, *(size for size in known if least <= size <= most)}
    sizes, size = set(fixed), least * 1.6
    while size < most:
        if all(not 0.75 < size / other < 1.33 for other in fixed):
            sizes.add(round(size))
        size *= 1.6
    return tuple(sorted(sizes))


def recall_by_size(
    search: Search, batches: Sequence[EvaluationBatch], sizes: Sequence[int], *, is_nested: bool
) -> tuple[float, ...]:
    """The mean share of a request's targets among its best candidates, for each number of them.

    ``is_nested`` says that a short list is the beginning of a longer one, as of exact search, so that one search for the
    most is enough; an approximate one looks wider for more, and is asked for each number.
    """
    shares: list[list[Tensor]] = [[] for _ in sizes]
    for batch in batches:
        targets = distinct(batch.targets)
        count = (targets != 0).sum(1)
        longest = search(batch.requests, max(sizes), filter=batch.filter).items if is_nested else None
        for size, share in zip(sizes, shares, strict=True):
            items = search(batch.requests, size, filter=batch.filter).items if longest is None else longest[:, :size]
            share.append((found(items, targets).sum(1) / count)[count > 0])
    return tuple(float(torch.cat(share).double().mean()) for share in shares)
