"""Small bundles to do harm to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from running import Service, running

import shortlist as sl
from shortlist.data.synthetic import make_shop
from shortlist.recommender import Recommender

USERS, ITEMS = 1_000, 300


@pytest.fixture(scope="session")
def recommender() -> Recommender:
    """A funnel with every kind of file and of feature that a bundle can have."""
    shop = make_shop(users=USERS, items=ITEMS, events=8_000, seed=1)
    places = np.arange(ITEMS)
    items = shop.items.with_columns(
        tags=pl.Series([["red", "blue", "green"][: place % 4] for place in places]),
        note=pl.Series([f"a thing of {place} parts" for place in places]),
        look=pl.Series([[place % 5 - 2.0, place / ITEMS] for place in places]),
    )
    events = shop.events.with_columns(
        device=pl.Series(["tv", "phone", None] * 10_000).head(len(shop.events)),
        speed=pl.Series(np.arange(len(shop.events)) % 7 + 0.5),
    )
    columns = {
        "item": {"category": "categorical", "brand": "categorical", "price": "numeric", "tags": "multi", "note": "text", "look": "vector"},
        "user": {"country": "categorical"},
        "context": {"device": "categorical", "speed": "numeric"},
    }  # fmt: skip
    features = [
        {"name": name, "kind": kind, "owner": owner} | ({"dim": 4} if kind == "text" else {})
        for owner, kinds in columns.items()
        for name, kind in kinds.items()
    ]
    dataset = sl.read_dataset(events, items=items, users=shop.users, schema={"features": features})
    train, _, test = sl.split_last_out(dataset)
    once = sl.Training(epochs=1, patience=None, batch_size=1024)
    model = sl.fit(sl.TwoTower(embedding_dim=8, hidden=(8,), history=10, negatives=8), train, training=once)
    second = sl.fit(sl.MF(embedding_dim=8), train, training=once)
    ranker = sl.fit(sl.DLRM(embedding_dim=4, bottom=(8,), top=(8,)), train, training=once)
    index = sl.HNSW(neighbours=8, ef_search=300)
    return Recommender([model, second], index=index, ranker=ranker, candidates=40, history=dataset, held_out=test)


@pytest.fixture(scope="session")
def bundles(recommender: Recommender, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two that answer differently: the second has lost the best items of the first."""
    folder = tmp_path_factory.mktemp("bundles")
    best = recommender.recommend(recommender.known_users()[:20], k=1)["item_id"].unique().to_list()
    recommender.save(folder / "one")
    recommender.refresh(remove=best).save(folder / "two")
    return folder / "one", folder / "two"


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: for what flushes a disk a thousand times, and is not about that."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def service(bundles: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One that is not to be killed."""
    with running(bundles[0], tmp_path_factory.mktemp("service")) as service:
        service.limit_memory(4 * 2**30)
        yield service
        assert service.exit_code is None
        assert not service.failures(), "\n".join(service.failures())
