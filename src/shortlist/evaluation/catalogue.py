"""Answered items to figures that need no targets: how novel and how varied a list is, and how much of the catalogue shows.

Novelty and diversity follow Castells, Hurley and Vargas, "Novelty and Diversity in Recommender Systems" (2015).
"""

from __future__ import annotations

import torch
from torch import Tensor

from shortlist.errors import SettingsError


def self_information(item_counts: Tensor) -> Tensor:
    """Bits that an item's appearance tells: -log2 of its share of the training events, (I+1,) float64.

    ``item_counts`` (I+1,) counts each item's events. An item without any counts as one with a single event, which keeps
    the figure finite.

    >>> self_information(torch.tensor([0, 3, 1, 0])).tolist()[1:]
    [0.4150374992788438, 2.0, 2.0]
    """
    counts = item_counts.double()
    if counts.sum() == 0:
        raise SettingsError("novelty needs training events, and item_counts holds none.")
    return -torch.log2(counts.clamp(min=1) / counts.sum())


def novelty(items: Tensor, information: Tensor) -> Tensor:
    """The mean self-information of each list (B,k), in bits: (B,) float64, NaN for an empty list."""
    valid = items != 0
    return (information[items] * valid).sum(1) / valid.sum(1)


def unit_vectors(item_vectors: Tensor) -> Tensor:
    """The vectors (I+1,D) at length 1; a vector of length 0 stays 0 and is unlike every other."""
    return torch.nn.functional.normalize(item_vectors.float(), dim=1)


def diversity(items: Tensor, vectors: Tensor) -> Tensor:
    """One minus the mean cosine of all pairs in each list (B,k), by unit ``vectors`` (I+1,D).

    Returns (B,) float64, NaN for a list with fewer than two items. 0: all point the same way; 1: all at right angles.

    >>> diversity(torch.tensor([[1, 2]]), torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])).tolist()
    [1.0]
    """
    valid = items != 0
    listed = vectors[items] * valid[..., None]  # (B, k, D)
    squared_sum = listed.sum(1).double().square().sum(1)
    own = listed.double().square().sum((1, 2))  # what the k products of an item with itself add
    count = valid.sum(1)
    pairs = count * (count - 1)
    return 1 - (squared_sum - own) / pairs.double().masked_fill(pairs == 0, torch.nan)
