"""Evaluation batches to what was asked of whom: requests that count, what they are ranked among, and a key to pair them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from shortlist.contracts import EvaluationBatch, Filter
from shortlist.evaluation.ranks import distinct, found


def with_targets(batch: EvaluationBatch) -> tuple[EvaluationBatch, Tensor]:
    """The requests that have a target, and their rows (B',)."""
    has = (batch.targets != 0).any(1)
    rows = has.nonzero().ravel()
    if bool(has.all()):
        return batch, rows
    return EvaluationBatch(
        batch.requests.take(rows),
        batch.targets[rows],
        batch.filter.take(rows),
        batch.history_size[rows],
        None if batch.unknown is None else batch.unknown[rows],
    ), rows


def reachable(filter: Filter, targets: Tensor) -> Tensor:
    """Which targets (B,S) the filter lets into the answer."""
    reachable = targets != 0
    if filter.allowed is not None:
        reachable &= filter.allowed[targets] if filter.allowed.dtype == torch.bool else found(filter.allowed, targets)
    if filter.exclude is not None and filter.exclude.shape[1]:
        reachable &= ~_excluded(filter.exclude, targets)
    return reachable


def _excluded(exclude: Tensor, targets: Tensor) -> Tensor:
    """Which targets (B,S) are among ``exclude`` (B,X); targets are distinct and few, so they are what is sorted."""
    by_item, order = targets.sort(dim=1)
    place = torch.searchsorted(by_item, exclude.contiguous()).clamp_(max=targets.shape[1] - 1)  # (B, X)
    hits = (by_item.gather(1, place) == exclude) & (exclude != 0)
    struck = torch.zeros(targets.shape, dtype=torch.int8).scatter_reduce_(1, place, hits.to(torch.int8), "amax")
    return torch.zeros_like(struck).scatter_(1, order, struck).bool()


def ranked_among(filter: Filter, num_items: int) -> tuple[str, int, int]:
    """Which items targets are ranked among, and the fewest and most per request."""
    if filter.allowed is None:
        return "all", num_items, num_items
    if filter.allowed.dtype == torch.bool:
        count = int(filter.allowed[1:].sum())
        return "some", count, count
    sizes = (distinct(filter.allowed) != 0).sum(1)
    return "sampled", int(sizes.min()), int(sizes.max())


def describe(parts: Iterable[tuple[str, int, int]], num_items: int) -> str:
    """The protocol in words, from what :func:`ranked_among` says of each batch.

    >>> describe([("sampled", 99, 100), ("sampled", 100, 100)], 3706)
    'sampled: 99 to 100 given candidates'
    """
    sizes: dict[str, list[int]] = {}
    for kind, low, high in parts:
        sizes.setdefault(kind, []).extend((low, high))
    spans = {
        kind: f"{min(found):,}" if min(found) == max(found) else f"{min(found):,} to {max(found):,}"
        for kind, found in sizes.items()
    }
    words = {
        "all": "all {} items ranked",
        "some": f"{{}} of {num_items:,} items ranked",
        "sampled": "sampled: {} given candidates",
    }
    return "; ".join(words[kind].format(span) for kind, span in spans.items())


def target_keys(targets: Tensor) -> Tensor:
    """A number for each row's set of targets (B,S), the same whatever their order and padding: (B,) int64.

    Each item is mixed by the finaliser of SplitMix64 (Steele, Lea and Flood, 2014), so that sums of other items differ.
    """
    mixed = targets.cpu().numpy().astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    total = mixed.sum(axis=1, dtype=np.uint64)  # an item 0 adds 0
    return torch.from_numpy((total >> np.uint64(11)).astype(np.int64))  # 53 bits, which every JSON reader keeps
