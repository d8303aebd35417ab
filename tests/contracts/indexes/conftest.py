"""Each index of the table over five thousand items."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.contracts.indexes.table import EXTRAS, INDEXES
from tests.contracts.indexes.vectors import ITEMS, QUERIES, directions, gaussian
from torch import Tensor

from shortlist.contracts import ItemIndex


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread(one_thread: None) -> None:
    """Every test of the folder."""


@pytest.fixture(params=INDEXES, scope="module")
def settings(request: pytest.FixtureRequest) -> Any:
    if request.param in EXTRAS:
        pytest.importorskip(EXTRAS[request.param], reason=f"comes with the extra {EXTRAS[request.param]!r}")
    return INDEXES[request.param][0]


@pytest.fixture(scope="module")
def least_recall(settings: Any) -> float:
    return next(recall for known, recall in INDEXES.values() if known is settings)


@pytest.fixture(scope="module")
def queries() -> Tensor:
    return directions(QUERIES, seed=99)


@pytest.fixture(scope="module")
def items() -> Tensor:
    """Indices with gaps, not in order."""
    order = torch.randperm(2 * ITEMS, generator=torch.Generator().manual_seed(9))
    return order[:ITEMS] + 1


@pytest.fixture(scope="module")
def vectors() -> Tensor:
    return gaussian(ITEMS)


@pytest.fixture(scope="module")
def index(settings: Any, items: Tensor, vectors: Tensor, queries: Tensor) -> ItemIndex:
    return settings.build(items, vectors, queries=queries)
