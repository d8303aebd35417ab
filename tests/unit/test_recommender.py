"""What a recommender answers, to whom, and from what."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
import torch

import shortlist as sl
from shortlist.data import Dataset, hold_back, read_dataset
from shortlist.errors import RequestError, ShortlistWarning, TrainingError
from shortlist.model import Model
from shortlist.recommender import Recommender

QUICK = sl.Training(epochs=2, batch_size=32, patience=None)


@pytest.fixture(scope="module")
def recommender(dataset: Dataset) -> Recommender:
    settings = sl.TwoTower(embedding_dim=8, hidden=(8,), history=5, negatives=8)
    return sl.train(dataset, retriever=settings, ranker=sl.NeuMF(), candidates=15, training=QUICK).with_data(
        history=dataset
    )


def _seen(dataset: Dataset, user: str) -> set[int]:
    index = int(dataset.encoders.users.encode([user])[0])
    events = dataset.events
    return set(
        dataset.encoders.items.decode(events.items[events.offsets[index] : events.offsets[index + 1]].numpy()).tolist()
    )


def test_seen_items_are_out_unless_asked_for(recommender: Recommender, dataset: Dataset) -> None:
    seen = _seen(dataset, "u00")
    new = recommender.recommend(["u00"], k=20)
    assert not seen & set(new["item_id"])
    assert len(new) == 20 - len(seen)
    assert len(recommender.recommend(["u00"], k=20, exclude_seen=False)) == 20


def test_lists_are_applied_before_the_cut(recommender: Recommender) -> None:
    allowed = [2, 4, 6, 8, 10, 12]
    frame = recommender.recommend(["u00"], k=4, items=allowed, exclude=[4, 6], exclude_seen=False)
    assert sorted(frame["item_id"]) == [2, 8, 10, 12]
    assert frame["rank"].to_list() == [1, 2, 3, 4]


def test_more_than_the_catalogue_gives_the_catalogue(recommender: Recommender) -> None:
    assert recommender.recommend(["u01"], k=1_000, exclude_seen=False)["item_id"].n_unique() == 20


def test_nobody_known_gets_the_popular_items_and_the_answer_says_so(dataset: Dataset) -> None:
    recommender = Recommender(sl.fit(sl.MF(embedding_dim=8, negatives=8), dataset, training=QUICK))
    frame = recommender.recommend(["stranger"], k=3)
    assert frame["source"].unique().to_list() == ["popularity"]
    counts = dataset.events.item_counts()
    best = counts.argsort(descending=True, stable=True)[:3]
    assert frame["item_id"].to_list() == dataset.encoders.items.decode(best.numpy()).tolist()


def test_sources_tell_model_from_session(recommender: Recommender) -> None:
    assert recommender.recommend(["u00"])["source"][0] == "model"
    assert recommender.recommend(events=[{"item_id": 4}])["source"][0] == "session"


def test_events_extend_the_stored_history(recommender: Recommender, dataset: Dataset) -> None:
    events = pl.DataFrame(
        {"user_id": ["u00", "u00", "new"], "item_id": [1, 2, 3], "timestamp": [9_000_000, 9_000_001, 9_000_002]}
    )
    frame = recommender.recommend(events=events, k=20)
    of_known = set(frame.filter(pl.col("user_id") == "u00")["item_id"])
    assert not of_known & (_seen(dataset, "u00") | {1, 2})
    of_new = frame.filter(pl.col("user_id") == "new")
    assert set(of_new["item_id"]) == set(range(1, 21)) - {3}
    assert of_new["source"][0] == "session"


def test_late_events_with_early_times_take_their_place(dataset: Dataset) -> None:
    """The order of fresh events in the request does not matter where they have times."""
    settings = sl.TwoTower(embedding_dim=8, hidden=(8,), history=3, negatives=8)
    recommender = Recommender(sl.fit(settings, dataset, training=QUICK))
    rows = [{"item_id": item, "timestamp": 5_000 + item} for item in (3, 8, 11, 15)]
    forward, backward = (recommender.recommend(events=order, k=5) for order in (rows, rows[::-1]))
    assert forward.equals(backward)
    untimed = [{"item_id": row["item_id"]} for row in rows]
    orders = [recommender.recommend(events=order, k=5)["score"].to_list() for order in (untimed, untimed[::-1])]
    assert orders[0] != orders[1]


def test_unknown_items_are_counted_and_left_out(recommender: Recommender) -> None:
    with pytest.warns(ShortlistWarning, match="2 item ids are not in the catalogue.*777"):
        frame = recommender.recommend(["u00"], events=[{"item_id": 777}, {"item_id": 3}], exclude=[888], k=3)
    assert len(frame) == 3


def test_ids_may_come_as_text_or_as_numbers(recommender: Recommender) -> None:
    assert recommender.recommend(["u00"], items=["3", "4"], exclude_seen=False).height == 2
    assert recommender.similar_items("3", k=2).equals(recommender.similar_items(3, k=2))


def test_batch_and_single_requests_agree(recommender: Recommender) -> None:
    users = recommender.known_users()
    together = recommender.recommend(users, k=5)
    alone = pl.concat([recommender.recommend([user], k=5) for user in users])
    assert together.drop("score").equals(alone.drop("score"))


def test_similar_items_leave_out_the_item_itself(recommender: Recommender) -> None:
    frame = recommender.similar_items(5, k=19)
    assert set(frame["item_id"]) == set(range(1, 21)) - {5}
    assert frame["score"].is_sorted(descending=True)
    assert frame["score"].max() <= 1.0001


def test_scores_of_pairs_order_as_the_ranker_does(recommender: Recommender) -> None:
    pairs = pl.DataFrame({"user_id": ["u00", "u01", "nobody"], "item_id": [3, 3, 999]})
    scored = recommender.score(pairs)
    assert scored["score"].is_finite().all()
    assert scored["score"][0] != scored["score"][1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "give users, events, or both"),
        ({"users": ["u00"], "k": 0}, "k is 0"),
        ({"users": "u00"}, "Put it in a list"),
        ({"users": ["u00"], "items": "3"}, "Put it in a list"),
        ({"events": [{"item": 3}]}, "no column 'item_id'"),
        ({"events": ["i1"]}, "list of mappings"),
        ({"events": [{"item_id": 3, "timestamp": "noon"}]}, "seconds since 1970"),
        ({"users": ["u00", "u01"], "events": [{"item_id": 3}]}, "say whose events they are"),
        ({"users": ["u00"], "context": {"device": "tv"}}, "without context features"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(
    recommender: Recommender, arguments: dict[str, object], words: str
) -> None:
    with pytest.raises(RequestError, match=words):
        recommender.recommend(**arguments)  # type: ignore[arg-type]


def test_parts_with_other_vocabularies_are_refused(recommender: Recommender) -> None:
    other = read_dataset(pl.DataFrame({"user_id": [1, 1, 2], "item_id": [1, 2, 1]}))
    with pytest.raises(RequestError, match="parts of one data set"):
        recommender.with_data(history=other)


def test_the_ranker_never_learns_from_what_the_retriever_saw(dataset: Dataset) -> None:
    earlier, later = hold_back(dataset)
    retriever = sl.fit(sl.MF(embedding_dim=8, negatives=8), earlier, training=QUICK)
    assert retriever.trained_until.time is not None
    assert later.targets().times is not None
    assert int(later.targets().times.min()) > retriever.trained_until.time  # type: ignore[union-attr]
    sl.fit(sl.NeuMF(), later, training=QUICK, candidates_from=retriever, candidates=15)
    for seen in (earlier, dataset):
        with pytest.raises(TrainingError, match="already know"):
            sl.fit(sl.NeuMF(), seen, training=QUICK, candidates_from=retriever)


def test_without_times_the_ranker_learns_from_each_users_last_events(dataset: Dataset) -> None:
    untimed = replace(dataset, events=replace(dataset.events, times=None))
    earlier, later = hold_back(untimed)
    retriever = sl.fit(sl.MF(embedding_dim=8, negatives=8), earlier, training=QUICK)
    sl.fit(sl.NeuMF(), later, training=QUICK, candidates_from=retriever, candidates=15)
    with pytest.raises(TrainingError, match="no timestamps to compare"):
        sl.fit(sl.NeuMF(), untimed, training=QUICK, candidates_from=retriever)


def test_train_keeps_the_rankers_labels_from_the_retriever(recommender: Recommender) -> None:
    retriever, ranker = recommender.funnel.retriever, recommender.funnel.ranker
    assert ranker is not None
    retriever.trained_until.check_later(ranker.dataset)
    assert retriever.trained_until.events == len(ranker.dataset.known())


def test_ratings_are_predicted_better_than_by_their_mean(dataset: Dataset) -> None:
    liking = replace(dataset.events, ratings=(1 + dataset.events.rows() % 5).float())
    train, _, test = sl.split_last_out(replace(dataset, events=liking))
    training = sl.Training(epochs=60, batch_size=16, learning_rate=0.05, patience=None)
    model = sl.fit(sl.MF(loss="mse", embedding_dim=4), train, training=training)
    spread = float(test.targets().ratings.std(correction=0))  # type: ignore[union-attr]
    assert sl.evaluate(model, test, metrics=["rmse", "mae"])["rmse"].value < 0.7 * spread


def test_liked_events_are_told_from_the_others(dataset: Dataset) -> None:
    liked = replace(dataset.events, liked=dataset.events.items <= 10)
    part = replace(dataset, events=liked)
    model = sl.fit(
        sl.NeuMF(paths="gmf"), part, training=sl.Training(epochs=40, batch_size=16, learning_rate=0.01, patience=None)
    )
    report = sl.evaluate(model, part, metrics=["auc", "logloss"])
    assert report["auc"].value > 0.9
    assert report["logloss"].value < 0.69


def test_an_error_tells_rankings_from_predictions(recommender: Recommender, dataset: Dataset) -> None:
    with pytest.raises(sl.ShortlistError, match="evaluated apart"):
        sl.evaluate(recommender, dataset, metrics=["rmse", "ndcg@10"])
    with pytest.raises(sl.ShortlistError, match=r"schema\.positive"):
        sl.evaluate(recommender, dataset, metrics=["auc"])


def test_users_without_events_are_served_by_what_is_known_of_them(dataset: Dataset) -> None:
    """They are in the user table, so they have an id; nothing has been learnt of it, and a random vector is no taste."""
    kept = dataset.events.select(dataset.events.rows() > 3)
    part = replace(dataset, events=kept, target_start=kept.offsets[:-1])
    by_id = Recommender(sl.fit(sl.MF(embedding_dim=8, negatives=8), part, training=QUICK))
    assert by_id.recommend(["u00"], k=3)["source"][0] == "popularity"
    settings = sl.TwoTower(embedding_dim=8, hidden=(8,), history=5, negatives=8)
    by_features = Recommender(sl.fit(settings, part, training=QUICK))
    assert by_features.recommend(["u00"], k=3)["source"][0] == "features"
    # u00 and u01 differ in country and age, and in nothing else that is known.
    scores = [
        by_features.recommend([user], k=20, exclude_seen=False).sort("item_id")["score"].to_list()
        for user in ("u00", "u01")
    ]
    assert scores[0] != scores[1]


def test_what_a_source_cannot_fill_is_filled_with_popular_items(dataset: Dataset) -> None:
    """A neighbourhood model knows few items that are similar; the user still gets k while k are eligible."""
    recommender = Recommender(sl.fit(sl.ItemKNN(neighbours=1), dataset))
    for user in ("u00", "u07"):
        frame = recommender.recommend([user], k=20)
        assert set(frame["item_id"]) == set(range(1, 21)) - _seen(dataset, user)
        assert frame["score"].is_sorted(descending=True)
        assert recommender.recommend([user], k=3, items=[4, 5, 6], exclude_seen=False)["item_id"].len() == 3


def test_solved_models_repeat_by_their_seed(dataset: Dataset) -> None:
    scores = [
        Recommender(sl.fit(sl.ALS(embedding_dim=4), dataset, training=sl.Training(seed=seed))).recommend(["u00"], k=3)[
            "score"
        ]
        for seed in (1, 1, 2)
    ]
    assert scores[0].equals(scores[1])
    assert not scores[0].equals(scores[2])


@pytest.mark.parametrize("timed", [True, False])
def test_train_needs_no_validation_part(dataset: Dataset, timed: bool) -> None:
    """Each user's last event then stands in for it: of the retriever's part, and of the ranker's."""
    part = dataset if timed else replace(dataset, events=replace(dataset.events, times=None))
    training = sl.Training(epochs=2, batch_size=32)
    settings = sl.TwoTower(embedding_dim=8, hidden=(8,), history=5, negatives=8)
    made = sl.train(part, retriever=settings, ranker=sl.NeuMF(), candidates=15, training=training)
    assert made.funnel.retriever.log is not None
    assert made.funnel.retriever.log.best_metric is not None
    assert len(made.dataset.events) == len(dataset.events)


def test_a_judge_of_ones_own_decides_which_epoch_is_best(dataset: Dataset) -> None:
    figures = iter([0.1, 0.3, 0.2, 0.25])
    shown: list[torch.Tensor] = []

    def judge(model: Model) -> dict[str, float]:
        shown.append(model.vectors().clone())
        return {"ndcg@10": next(figures)}

    training = sl.Training(epochs=4, batch_size=32, patience=None)
    made = sl.fit(sl.MF(embedding_dim=8, negatives=8), dataset, validation=judge, training=training)
    assert made.log is not None
    assert (made.log.best_epoch, made.log.best_metric) == (2, 0.3)
    assert torch.equal(made.vectors(), shown[1])


def test_a_refit_uses_everything_for_the_epochs_found(dataset: Dataset) -> None:
    settings = sl.MF(embedding_dim=8, negatives=8)
    chosen = sl.fit(settings, dataset, training=sl.Training(epochs=4, batch_size=32, patience=1))
    again = sl.fit(settings, dataset, training=sl.Training(epochs=4, batch_size=32, patience=1), refit=True)
    assert chosen.log is not None
    assert again.log is not None
    assert len(again.log.epochs) == chosen.log.best_epoch
    assert again.log.best_metric is None


def test_known_and_unknown_users_together_may_ask_for_more_than_the_catalogue(dataset: Dataset) -> None:
    recommender = Recommender(sl.fit(sl.MF(embedding_dim=8, negatives=8), dataset, training=QUICK))
    frame = recommender.recommend(["u00", "stranger"], k=1_000, exclude_seen=False)
    assert frame.group_by("user_id").len()["len"].to_list() == [20, 20]
