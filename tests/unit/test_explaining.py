"""What each event of a history adds to a score is the difference that leaving it out makes."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

import shortlist as sl
from shortlist.data import Dataset
from shortlist.errors import RequestError
from shortlist.model import pair_scores
from shortlist.query import encode_query
from shortlist.recommender import Recommender

QUICK = sl.Training(epochs=1, batch_size=32, patience=None)
HISTORY = 4
MODELS = {
    "SASRec": sl.SASRec(embedding_dim=8, history=HISTORY),
    "GRU4Rec": sl.GRU4Rec(hidden=(8,), history=HISTORY),
    "TwoTower": sl.TwoTower(embedding_dim=8, hidden=(8,), history=HISTORY, negatives=8),
    "ALS": sl.ALS(embedding_dim=4, history=HISTORY),
}


def score(recommender: Recommender, items: list[int], item: int) -> float:
    """The score of an item for an anonymous session, asked for by itself."""
    model = recommender.funnel.retriever
    (query,) = encode_query(
        recommender.dataset, users=None, events=[{"item_id": each} for each in items], items=None, exclude=None,
        allowed=None, exclude_seen=False, context=None, history=model.history, block=1,
    )  # fmt: skip
    index = recommender.dataset.encoders.items.encode([item])[0]
    return float(pair_scores(model.network, query.requests, query.requests.history.new_tensor([[int(index)]])))  # type: ignore[union-attr]


@pytest.mark.parametrize("name", MODELS)
def test_a_contribution_is_the_score_with_the_event_less_the_score_without(dataset: Dataset, name: str) -> None:
    recommender = Recommender(sl.fit(MODELS[name], dataset, training=QUICK))
    session = [3, 9, 12, 5, 17, 8]  # longer than the history: an older event moves up where one is left out
    told = recommender.explain(None, 20, events=[{"item_id": each} for each in session])
    assert told.columns == ["item_id", "title", "contribution"]
    assert sorted(told["item_id"]) == sorted(session[-HISTORY:])
    assert told["contribution"].is_sorted(descending=True)
    whole = score(recommender, session, 20)
    for item, contribution in told.select("item_id", "contribution").iter_rows():
        without = score(recommender, [each for each in session if each != item], 20)
        assert contribution == pytest.approx(whole - without, abs=1e-5)


def test_the_only_event_of_a_history_can_be_left_out(dataset: Dataset) -> None:
    for settings in MODELS.values():
        told = Recommender(sl.fit(settings, dataset, training=QUICK)).explain(None, 20, events=[{"item_id": 3}])
        assert told["item_id"].to_list() == [3]
        assert told["contribution"].is_finite().all()


def test_a_stored_history_is_explained_by_the_ranker_that_reads_it(dataset: Dataset) -> None:
    retriever = sl.fit(sl.MF(embedding_dim=8, negatives=8), dataset, training=QUICK)
    ranker = sl.fit(sl.CrossAttention(embedding_dim=8, history=HISTORY), dataset, training=QUICK)
    told = Recommender(retriever, ranker=ranker).explain("u00", 7)
    assert len(told) == HISTORY
    session = Recommender(retriever, ranker=ranker).explain("u00", 7, events=[{"item_id": 3}])
    assert 3 in session["item_id"]


def test_the_first_source_that_reads_the_history_explains(dataset: Dataset) -> None:
    mf = sl.fit(sl.MF(embedding_dim=8, negatives=8), dataset, training=QUICK)
    als = sl.fit(MODELS["ALS"], dataset)
    assert Recommender([mf, als]).explain("u00", 7).equals(Recommender(als).explain("u00", 7))


def test_titles_stand_beside_the_ids() -> None:
    events = pl.DataFrame({"user_id": ["a", "a", "b", "b"], "item_id": [1, 2, 2, 3]})
    items = pl.DataFrame({"item_id": [1, 2, 3], "title": ["one", "two", "three"]})
    dataset = sl.read_dataset(events, items=items)
    told = Recommender(sl.fit(sl.ALS(embedding_dim=2), dataset)).explain("a", 3)
    assert dict(told.select("item_id", "title").iter_rows()) == {1: "one", 2: "two"}


@pytest.mark.parametrize(
    ("settings", "arguments", "words"),
    [
        (sl.MF(embedding_dim=8, negatives=8), {"user": "u00", "item": 3}, "MF: nothing here scores the item"),
        (sl.Popularity(), {"user": "u00", "item": 3}, "Popularity: nothing here scores the item"),
        (MODELS["TwoTower"], {"user": "u00", "item": 999}, "no item 999"),
        (MODELS["TwoTower"], {"user": "nobody", "item": 3}, "No event of the history is known"),
    ],
)
def test_what_cannot_be_explained_is_told_why(
    dataset: Dataset, settings: Any, arguments: dict[str, Any], words: str
) -> None:
    recommender = Recommender(sl.fit(settings, dataset, training=QUICK))
    with pytest.raises(RequestError, match=words):
        recommender.explain(arguments["user"], arguments["item"])
