"""The data that a row of the table is tried with."""

from __future__ import annotations

import pytest

from shortlist.data import Dataset


@pytest.fixture
def dataset(request: pytest.FixtureRequest, dataset: Dataset, rich_dataset: Dataset) -> Dataset:
    """The usual small data, or with texts, vectors and pictures for the models that see them."""
    return rich_dataset if "all kinds" in request.node.callspec.params["name"] else dataset
