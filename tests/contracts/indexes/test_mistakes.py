"""Queries, requests and catalogues that no index can work with are errors that say why."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.contracts.indexes.vectors import WIDTH
from torch import Tensor

from shortlist.contracts import Filter, ItemIndex
from shortlist.errors import SearchError


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e30])
def test_a_query_that_is_not_a_number_is_named(index: ItemIndex, queries: Tensor, value: float) -> None:
    broken = queries.clone()
    broken[[3, 8], 2] = value
    with pytest.raises(SearchError, match=r"in 2 rows, the first is row 3"):
        index.search(broken, 5)


@pytest.mark.parametrize(
    ("asked", "k", "filter", "message"),
    [
        (torch.ones(2, WIDTH - 1), 5, None, f"width {WIDTH - 1}.*width {WIDTH}"),
        (torch.ones(WIDTH), 5, None, "matrix"),
        (torch.ones(2, WIDTH, dtype=torch.int64), 5, None, "floating point"),
        (torch.ones(2, WIDTH), 0, None, "k is 0"),
        (torch.ones(2, WIDTH), -3, None, "k is -3"),
        (torch.ones(2, WIDTH), 5, Filter(exclude=torch.ones(3, 1, dtype=torch.int64)), "3 rows for 2 requests"),
        (torch.ones(2, WIDTH), 5, Filter(allowed=torch.ones(3, 1, dtype=torch.int64)), "3 rows for 2 requests"),
        (torch.ones(2, WIDTH), 5, Filter(exclude=-torch.ones(2, 1, dtype=torch.int64)), "the item -1"),
        (torch.ones(2, WIDTH), 5, Filter(exclude=torch.ones(2, 1)), "integers"),
        (torch.ones(2, WIDTH), 5, Filter(allowed=torch.ones(9, dtype=torch.bool)), "one value for each index"),
    ],
)
def test_a_bad_request_is_an_error_that_says_why(
    index: ItemIndex, asked: Tensor, k: int, filter: Filter | None, message: str
) -> None:
    with pytest.raises(SearchError, match=message):
        index.search(asked, k, filter=filter)


@pytest.mark.parametrize(
    ("indices", "rows", "message"),
    [
        ([1, 2], torch.ones(3, WIDTH), "2 items and 3 vectors"),
        ([0, 2], torch.ones(2, WIDTH), "run from 1; found 0"),
        ([1, -2], torch.ones(2, WIDTH), "found -2"),
        ([5, 5], torch.ones(2, WIDTH), "such as item 5"),
        ([1, 2], torch.ones(2, WIDTH) * torch.nan, "in 2 rows, the first is row 0"),
        ([1, 2], torch.ones(2, 0), "width"),
        ([1, 2**40], torch.ones(2, WIDTH), "2\\^31"),
    ],
)
def test_a_bad_catalogue_is_an_error_that_says_why(
    settings: Any, indices: list[int], rows: Tensor, message: str
) -> None:
    with pytest.raises(SearchError, match=message):
        settings.build(torch.tensor(indices), rows)
