"""A funnel of several sources with filters: every source keeps to them, and no answer is short while enough items pass."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
import torch

import shortlist as sl
from shortlist.contracts import Filter, Requests
from shortlist.data import Dataset, read_dataset
from shortlist.model import Model
from shortlist.recommender import Recommender

# From 99 % to 0.01 % of ten thousand items.
SHARES = (9_900, 5_000, 1_000, 100, 10, 1, 0)
MANY = 10_000


@pytest.fixture(scope="module")
def many(one_thread: None) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randperm(MANY, generator=generator)
    items = pl.DataFrame({"item_id": range(1, MANY + 1), "number": numbers.numpy()})
    drawn = torch.randint(1, MANY + 1, (20_000,), generator=generator)
    users = torch.randint(0, 200, (20_000,), generator=generator)
    events = pl.DataFrame({"user_id": users.numpy(), "item_id": drawn.numpy(), "timestamp": range(20_000)})
    return read_dataset(events, items=items)


@pytest.fixture(scope="module")
def finders(many: Dataset) -> list[Model]:
    training = sl.Training(epochs=1, patience=None, batch_size=4096)
    mf = sl.fit(sl.MF(embedding_dim=8, negatives=64), many, training=training)
    return [mf, sl.fit(sl.ItemKNN(neighbours=5), many), sl.fit(sl.Popularity(recent_days=1), many)]


@pytest.fixture(scope="module", params=[sl.Exact(), sl.HNSW()], ids=["Exact", "HNSW"])
def recommenders(request: pytest.FixtureRequest, finders: list[Model]) -> list[Recommender]:
    several = Recommender(finders, index=request.param)
    funnel = replace(several.funnel, sources=several.funnel.sources[:1])
    return [Recommender._of(funnel, several.dataset, None, several.made, several._columns), several]


@pytest.mark.parametrize("eligible", SHARES)
def test_no_answer_is_short_while_enough_items_pass(
    recommenders: list[Recommender], many: Dataset, eligible: int
) -> None:
    """Whatever the source: the index, the others, and popularity for a stranger."""
    assert many.item_table is not None
    passing = set(many.item_table.frame.filter(pl.col("number") < eligible)["item_id"])
    users = [*recommenders[0].known_users()[:5], -1]
    for recommender in recommenders:
        for arguments in ({}, {"diversity": 0.3}):
            found = recommender.recommend(users, k=20, where=f"number < {eligible}", exclude_seen=False, **arguments)  # type: ignore[arg-type]
            assert set(found["item_id"]) <= passing
            assert found.height == len(users) * min(20, eligible)
            assert found.group_by("user_id").agg(pl.col("item_id").n_unique())["item_id"].to_list() == [
                min(20, eligible)
            ] * (len(users) if eligible else 0)


def test_filters_reach_every_source(recommenders: list[Recommender], many: Dataset) -> None:
    allowed = torch.rand(MANY + 1, generator=torch.Generator().manual_seed(1)) < 0.01
    requests = Requests(torch.arange(4), torch.arange(8).view(4, 2), torch.full((4,), 2))
    for source in recommenders[1].funnel.sources:
        found = source.search(requests, 50, filter=Filter(allowed=allowed))
        assert bool(allowed[found.items[found.valid]].all())
