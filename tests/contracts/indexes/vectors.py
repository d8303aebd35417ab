"""Vectors of several shapes to search, and a small index of some."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from shortlist.contracts import ItemIndex

ITEMS, WIDTH, QUERIES = 5_000, 32, 200


def directions(count: int, *, seed: int) -> Tensor:
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed))


def gaussian(count: int) -> Tensor:
    return directions(count, seed=0)


def unequal_lengths(count: int) -> Tensor:
    lengths = torch.randn(count, 1, generator=torch.Generator().manual_seed(1)).exp()
    return torch.nn.functional.normalize(directions(count, seed=2)) * lengths


def clustered(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return 4 * directions(20, seed=4)[torch.randint(0, 20, (count,), generator=generator)] + directions(count, seed=5)


def few_strong_dimensions(count: int) -> Tensor:
    """As matrix factorisations give: a decaying spectrum, and one dimension that is popularity."""
    vectors = directions(count, seed=6) * torch.exp(-torch.arange(WIDTH) / 8)
    vectors[:, 0] += torch.rand(count, generator=torch.Generator().manual_seed(7)) * 4
    return vectors


def many_equal(count: int) -> Tensor:
    vectors = directions(count, seed=8)
    vectors[: count // 5] = vectors[0]
    vectors[count // 5 : count // 3] = 0
    return vectors


def small(settings: Any, count: int = 300) -> tuple[ItemIndex, Tensor, Tensor]:
    """An index of items 1 to ``count`` that a test may edit, with its items and vectors."""
    items, vectors = torch.arange(1, count + 1), gaussian(count)
    return settings.build(items, vectors), items, vectors
