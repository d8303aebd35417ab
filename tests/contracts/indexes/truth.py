"""What brute force finds, and whether an answer is as good and of the right form."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from shortlist.contracts import Candidates


def best(
    queries: Tensor, items: Tensor, vectors: Tensor, k: int, eligible: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k best by brute force in numpy: items and scores, 0 and -inf where fewer are ``eligible`` (B, n)."""
    scores = queries.numpy().astype(np.float64) @ vectors.numpy().astype(np.float64).T
    if eligible is not None:
        scores = np.where(eligible, scores, -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    sorted_scores = np.take_along_axis(scores, order, 1)
    return np.where(np.isneginf(sorted_scores), 0, items.numpy()[order]), sorted_scores


def overlap(found: Candidates, truth: np.ndarray) -> float:
    """Of the true items, the part that was found."""
    pairs = zip(found.items.tolist(), truth.tolist(), strict=True)
    counts = [(len((set(row) & set(true)) - {0}), len(set(true) - {0})) for row, true in pairs]
    return sum(hit for hit, _ in counts) / sum(wanted for _, wanted in counts)


def check_form(found: Candidates, k: int) -> None:
    """Best first, no item twice, empty slots last."""
    assert found.items.shape == found.scores.shape == (len(found), k)
    assert (found.items.dtype, found.scores.dtype) == (torch.int64, torch.float32)
    assert bool((found.scores[:, 1:] <= found.scores[:, :-1]).all())
    assert bool((found.valid == (found.scores > -torch.inf)).all())
    for row in found.items.tolist():
        answered = [item for item in row if item]
        assert len(set(answered)) == len(answered)


def check_scores(found: Candidates, queries: Tensor, items: Tensor, vectors: Tensor) -> None:
    """Every score is the inner product with the item's vector."""
    row_of = {item: row for row, item in enumerate(items.tolist())}
    for query, answered, scores in zip(queries, found.items.tolist(), found.scores, strict=True):
        kept = [row_of[item] for item in answered if item]
        torch.testing.assert_close(scores[: len(kept)], vectors[kept] @ query, rtol=1e-4, atol=1e-4)
