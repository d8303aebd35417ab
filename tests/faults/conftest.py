"""Small bundles to do harm to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Service, running

import shortlist as sl
from shortlist.data.synthetic import make_shop
from shortlist.recommender import Recommender

USERS, ITEMS = 1_000, 160


@pytest.fixture(scope="session")
def recommender() -> Recommender:
    """A funnel with every kind of file that a bundle can have: two sources, an index, a ranker, features, a held-out part."""
    shop = make_shop(users=USERS, items=ITEMS, events=8_000, seed=1)
    dataset = sl.read_dataset(shop.events, items=shop.items, users=shop.users)
    train, _, test = sl.split_last_out(dataset)
    once = sl.Training(epochs=1, patience=None, batch_size=1024)
    model = sl.fit(sl.TwoTower(embedding_dim=8, hidden=(8,), history=10, negatives=8), train, training=once)
    ranker = sl.fit(sl.NeuMF(), train, training=once)
    index = sl.HNSW(neighbours=8, ef_search=160)
    return Recommender(model, index=index, ranker=ranker, candidates=40, history=dataset, held_out=test)


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
        yield service
        assert service.exit_code is None
        assert service.failures() == []
