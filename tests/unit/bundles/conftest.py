"""A recommender of two stages, and the bundle that it was saved as."""

from __future__ import annotations

from pathlib import Path

import pytest

import shortlist as sl
from shortlist.data import Dataset
from shortlist.recommender import Recommender


@pytest.fixture(scope="module")
def recommender(dataset: Dataset) -> Recommender:
    train, _, test = sl.split_last_out(dataset)
    training = sl.Training(epochs=1, batch_size=32, patience=None)
    model = sl.fit(sl.TwoTower(embedding_dim=8, hidden=(8,), history=5, negatives=8), train, training=training)
    ranker = sl.fit(sl.NeuMF(), train, training=training)
    return Recommender(model, ranker=ranker, candidates=15, history=dataset, held_out=test)


@pytest.fixture
def saved(recommender: Recommender, tmp_path: Path) -> Path:
    recommender.save(tmp_path / "a.bundle")
    return tmp_path / "a.bundle"
