"""Requests asked together are answered as each is alone, by either way of asking."""

from __future__ import annotations

import random
from typing import Any

import polars as pl
import pytest

import shortlist as sl
from shortlist.asking import Ask
from shortlist.data import Dataset, read_dataset
from shortlist.errors import RequestError
from shortlist.recommender import Recommender

QUICK = sl.Training(epochs=1, batch_size=32, patience=None)


@pytest.fixture(scope="module")
def timed() -> Dataset:
    draw = random.Random(0)
    rows = [
        (f"u{draw.randrange(30)}", draw.randrange(40), 1000 + place, draw.choice(["tv", "web"])) for place in range(900)
    ]
    events = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp", "device"], orient="row")
    features = [{"name": "device", "kind": "categorical", "owner": "context"}]
    return read_dataset(events, schema={"features": features})


@pytest.fixture(scope="module", params=["sequences", "towers"])
def recommender(request: pytest.FixtureRequest, timed: Dataset) -> Recommender:
    models: dict[str, Any] = {
        "sequences": sl.SASRec(embedding_dim=8, history=6),
        "towers": sl.TwoTower(embedding_dim=8, hidden=(8,), history=5, negatives=8),
    }
    ranker = sl.DLRM(embedding_dim=4, bottom=(8,), top=(8,))
    return sl.train(timed, retriever=models[request.param], ranker=ranker, candidates=12, training=QUICK)


def _ask(draw: random.Random, number: int, *, has_context: bool) -> Ask:
    times = sorted(draw.randrange(500, 3000) for _ in range(draw.randrange(4)))
    return Ask(
        user=draw.choice([None, f"u{draw.randrange(30)}", f"stranger {number}"]),
        events=[(draw.randrange(45), time) for time in times],
        exclude=[draw.randrange(45) for _ in range(draw.randrange(3))],
        exclude_seen=draw.random() < 0.7,
        context=draw.choice([{"device": "tv"}, {"device": "fridge"}, {}]) if has_context else None,
    )


def _alone(recommender: Recommender, ask: Ask) -> tuple[list[Any], list[float], str, set[Any]]:
    events = [{"item_id": item, "timestamp": time} for item, time in ask.events]
    (answer,) = recommender.answers(
        [ask.user],
        events=events or None,
        k=5,
        exclude=list(ask.exclude) or None,
        exclude_seen=ask.exclude_seen,
        context=None if ask.context is None else dict(ask.context),
    )
    valid = answer.stages.ranked.valid[0]
    ids = recommender.dataset.encoders.items.decode(answer.stages.ranked.items[0][valid].numpy()).tolist()
    return ids, answer.stages.ranked.scores[0][valid].tolist(), answer.sources[0], set(answer.query.unknown_items)


@pytest.mark.parametrize("has_context", [True, False])
def test_a_batch_of_asks_gets_what_each_gets_alone(recommender: Recommender, has_context: bool) -> None:
    draw = random.Random(1)
    asks = [_ask(draw, number, has_context=has_context) for number in range(60)]
    answer, unknown = recommender.answer_asks(asks, k=5)
    assert sum(map(bool, unknown)) > 5
    for row, ask in enumerate(asks):
        ids, scores, source, missing = _alone(recommender, ask)
        valid = answer.stages.ranked.valid[row]
        got = recommender.dataset.encoders.items.decode(answer.stages.ranked.items[row][valid].numpy()).tolist()
        assert got == ids
        assert answer.stages.ranked.scores[row][valid].tolist() == pytest.approx(scores, rel=1e-4, abs=1e-5)
        assert answer.sources[row] == source
        assert set(unknown[row]) == missing


def test_context_where_the_model_has_none_is_an_error(timed: Dataset) -> None:
    plain = read_dataset(pl.DataFrame({"user_id": ["a", "b"] * 5, "item_id": list(range(10)), "timestamp": range(10)}))
    recommender = Recommender(sl.fit(sl.Popularity(), plain))
    with pytest.raises(RequestError, match="without context"):
        recommender.answer_asks([Ask("a", context={"device": "tv"})], k=3)
