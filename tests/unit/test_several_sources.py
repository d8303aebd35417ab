"""A funnel of several sources, with conditions and a last step: what it answers, keeps and refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch

import shortlist as sl
from shortlist.contracts import Requests
from shortlist.data import Dataset, hold_back
from shortlist.errors import RequestError, TrainingError
from shortlist.model import Model
from shortlist.recommender import Recommender

QUICK = sl.Training(epochs=2, batch_size=32, patience=None)
TOWER = sl.TwoTower(embedding_dim=8, hidden=(8,), history=5, negatives=8)
MF = sl.MF(embedding_dim=8, negatives=8)
USERS = [f"u{number:02d}" for number in range(12)]


@pytest.fixture(scope="module")
def models(dataset: Dataset) -> list[Model]:
    earlier, _ = hold_back(dataset)
    return [
        sl.fit(settings, earlier, training=QUICK) for settings in (TOWER, sl.ItemKNN(), sl.Popularity(half_life_days=2))
    ]


@pytest.fixture(scope="module")
def ranked(dataset: Dataset) -> Recommender:
    sources = (TOWER, sl.ItemKNN(), sl.Popularity(half_life_days=2))
    return sl.train(dataset, retriever=sources, ranker=sl.NeuMF(), candidates=12, training=QUICK)


def request(recommender: Recommender, users: list[str]) -> Requests:
    (answer,) = recommender.answers(users, k=3, exclude_seen=False)
    return answer.query.requests


def test_a_union_is_its_sources_answers_by_their_ranks(dataset: Dataset, models: list[Model]) -> None:
    recommender = Recommender(models, history=dataset)
    requests = request(recommender, USERS)
    answers = [source.search(requests, 6).items for source in recommender.funnel.sources]
    shown = recommender.funnel.shortlist(requests, k=6).ranked
    for row in range(len(USERS)):
        credit: dict[int, float] = {0: 0.0}
        for answer in answers:
            for place, item in enumerate(answer[row].tolist()):
                credit[item] = credit.get(item, 0) + (1 / (61 + place) if item else 0)
        items = shown.items[row].tolist()
        assert len(set(items)) == 6
        assert shown.scores[row].tolist() == pytest.approx([credit[item] for item in items])
        assert sorted(credit.values())[-6:][::-1] == pytest.approx([credit[item] for item in items])


def test_evidence_says_what_each_source_found(dataset: Dataset, models: list[Model]) -> None:
    funnel = Recommender(models, history=dataset, candidates=5).funnel
    requests = request(Recommender(models, history=dataset), USERS)
    found = funnel.retrieve(requests, 5)
    assert found.evidence is not None
    for number, source in enumerate(funnel.sources):
        own = source.search(requests, 5)
        flags = found.evidence[..., 3 * number + 2]
        matches = (found.items[:, :, None] == own.items[:, None, :]) & found.valid[..., None]
        assert torch.equal(flags.bool(), matches.any(2))
        at = matches.int().argmax(2)[flags.bool()]
        rows = flags.bool().nonzero()[:, 0]
        assert torch.equal(found.evidence[..., 3 * number][flags.bool()], own.scores[rows, at])
        assert torch.equal(found.evidence[..., 3 * number + 1][flags.bool()], at.float())


def test_no_part_sees_more_history_than_it_asks_for(dataset: Dataset, models: list[Model]) -> None:
    """Beside one that looks far back, a source says what it says alone, and so does a ranker."""
    far = sl.fit(sl.ItemKNN(history=100), models[0].dataset)
    together = Recommender([models[0], far], history=dataset)
    assert together.funnel.history == 100
    alone = Recommender(models[0], history=dataset)
    wide, narrow = request(together, USERS), request(alone, USERS)
    assert wide.history is not None
    assert wide.history.shape[1] > models[0].history
    seen = wide.latest(models[0].history)
    for name in ("history", "length", "history_time"):
        assert torch.equal(getattr(seen, name), getattr(narrow, name)), name
    both = [funnel.sources[0].search(asked, 9) for funnel, asked in ((together.funnel, wide), (alone.funnel, narrow))]
    assert torch.equal(both[0].items, both[1].items)
    assert torch.equal(both[0].scores, both[1].scores)
    ranker = sl.fit(sl.CrossAttention(embedding_dim=8, history=3), dataset, training=QUICK)
    ranked = [
        Recommender(models[2], ranker=ranker, history=dataset).funnel.shortlist(asked, k=9).ranked.items
        for asked in (wide, wide.latest(3))
    ]
    assert torch.equal(ranked[0], ranked[1])


def test_an_item_that_one_source_alone_found_can_win(dataset: Dataset, models: list[Model]) -> None:
    """A ranker that trusts the second source's flag alone puts first what only that source found."""

    class Trusting(torch.nn.Module):
        link = "identity"

        def score(self, requests: Requests, candidates: sl.contracts.Candidates, /) -> torch.Tensor:  # type: ignore[name-defined]
            assert candidates.evidence is not None
            flags = candidates.evidence[..., 2::3]
            return flags[..., 1] - flags[..., 0] - flags[..., 2]

    ranker = sl.fit(sl.NeuMF(), dataset, training=QUICK)
    funnel = Recommender(models, history=dataset, ranker=replace(ranker, network=Trusting()), candidates=8).funnel
    requests = request(Recommender(models, history=dataset), USERS)
    others = [
        set(source.search(requests, 8).items[row].tolist()) for row in range(12) for source in funnel.sources[::2]
    ]
    winners, only = funnel.shortlist(requests, k=1).ranked.items[:, 0].tolist(), 0
    for row, winner in enumerate(winners):
        own = funnel.sources[1].search(requests, 8).items[row].tolist()
        candidates = funnel.retrieve(requests, 8).items[row].tolist()
        alone = [item for item in own if item in candidates and item not in others[2 * row] | others[2 * row + 1]]
        only += bool(alone)
        assert not alone or winner in alone
    assert only  # it does happen


def test_batch_mates_change_nothing(ranked: Recommender) -> None:
    users = [*USERS, "stranger"]
    for arguments in ({}, {"diversity": 0.4}, {"caps": {"category": 2}, "where": "price > 3"}):
        together = ranked.recommend(users, k=5, exclude_seen=False, **arguments)  # type: ignore[arg-type]
        alone = pl.concat([ranked.recommend([user], k=5, exclude_seen=False, **arguments) for user in users])  # type: ignore[arg-type]
        assert together.drop("score").equals(alone.drop("score"))


def test_a_stranger_gets_what_the_sources_that_know_nobody_say(dataset: Dataset, models: list[Model]) -> None:
    mf = sl.fit(MF, models[0].dataset, training=QUICK)
    recent = Recommender(models[2], history=dataset).recommend(["stranger"], k=5)
    ranker = sl.fit(sl.NeuMF(), dataset, training=QUICK)
    for recommender in (Recommender([mf, models[2]]), Recommender([mf, models[2]], ranker=ranker)):
        found = recommender.recommend(["stranger"], k=5)
        assert found["source"].unique().to_list() == ["popularity"]
        assert found["item_id"].to_list() == recent["item_id"].to_list()


def test_saved_and_loaded_answers_bit_for_bit_the_same(ranked: Recommender, tmp_path: Path) -> None:
    chosen = Recommender(
        [source.model for source in ranked.funnel.sources], ranker=ranked.funnel.ranker, candidates=12,
        diversity=0.3, caps={"tags": 4}, index=sl.HNSW(), history=ranked.dataset,
    )  # fmt: skip
    for number, recommender in enumerate((ranked, chosen)):
        recommender.save(tmp_path / f"{number}.bundle")
        again = sl.load(tmp_path / f"{number}.bundle")
        assert [source.model.name for source in again.funnel.sources] == ["TwoTower", "ItemKNN", "Popularity"]
        for arguments in (
            {},
            {"where": "category <> 'tea'"},
            {"diversity": 0.0, "caps": {}},
            {"caps": {"category": 1}},
        ):
            before, after = (each.recommend([*USERS, "x"], k=6, **arguments) for each in (recommender, again))  # type: ignore[arg-type]
            assert after.equals(before)
    assert not chosen.recommend(USERS, k=6).equals(ranked.recommend(USERS, k=6))
    assert isinstance(sl.Model.load(tmp_path / "0.bundle").settings, sl.NeuMF)


def test_the_ranker_never_learns_from_what_any_retriever_saw(dataset: Dataset, models: list[Model]) -> None:
    _, later = hold_back(dataset)
    sl.fit(sl.NeuMF(), later, training=QUICK, candidates_from=models, candidates=12)
    knows_all = sl.fit(sl.Popularity(), dataset)
    with pytest.raises(TrainingError, match="The retriever Popularity has seen events up to time"):
        sl.fit(sl.NeuMF(), later, training=QUICK, candidates_from=[*models, knows_all], candidates=12)


def test_train_keeps_the_rankers_labels_from_every_retriever(ranked: Recommender) -> None:
    assert ranked.funnel.ranker is not None
    for source in ranked.funnel.sources:
        source.model.trained_until.check_later(ranked.funnel.ranker.dataset)


@pytest.mark.parametrize(
    "ranker",
    [sl.NeuMF(), sl.DeepFM(hidden=(8,)), sl.DLRM(embedding_dim=8), sl.CrossAttention(embedding_dim=8, history=5)],
)
def test_every_ranker_learns_from_several_sources(dataset: Dataset, models: list[Model], ranker: object) -> None:
    _, later = hold_back(dataset)
    fitted = sl.fit(ranker, later, training=QUICK, candidates_from=models[:2], candidates=12)  # type: ignore[arg-type]
    assert fitted.catalogue.evidence == 6
    assert len(Recommender(models[:2], ranker=fitted, candidates=12).recommend(USERS, k=3)) == 36


def test_trees_learn_from_several_sources(dataset: Dataset, models: list[Model]) -> None:
    pytest.importorskip("lightgbm", reason='needs the extra: pip install "shortlist[trees]"')
    _, later = hold_back(dataset)
    settings, training = sl.LightGBM(trees=2, leaves=4, min_rows=2), sl.Training(epochs=2, patience=None)
    fitted = sl.fit(settings, later, training=training, candidates_from=models, candidates=12)
    assert fitted.catalogue.evidence == 9
    assert len(Recommender(models, ranker=fitted, candidates=12).recommend(USERS, k=3)) == 36


def test_a_ranker_of_other_sources_is_refused(ranked: Recommender, models: list[Model]) -> None:
    with pytest.raises(RequestError, match="another number of sources than the 2 given"):
        Recommender(models[:2], ranker=ranked.funnel.ranker)
    with pytest.raises(RequestError, match="no source"):
        Recommender([])


def test_evaluation_measures_what_is_served(ranked: Recommender, dataset: Dataset) -> None:
    """The defaults of the last step are in the evaluated path."""
    _, _, test = sl.split_last_out(dataset)
    plain = Recommender([source.model for source in ranked.funnel.sources], history=dataset)
    capped = Recommender([source.model for source in ranked.funnel.sources], caps={"category": 1}, history=dataset)
    figures = [
        sl.evaluate(each, test, metrics=["recall@10"], bootstrap=0)["recall@10"].value for each in (plain, capped)
    ]
    assert figures[0] > figures[1]  # three categories: three items


@pytest.mark.parametrize("k", [4, 9])
def test_without_diversity_and_caps_the_answer_is_the_plain_one(ranked: Recommender, k: int) -> None:
    varied = Recommender(
        [source.model for source in ranked.funnel.sources], ranker=ranked.funnel.ranker, candidates=12,
        diversity=0.7, caps={"category": 1}, history=ranked.dataset,
    )  # fmt: skip
    plain = ranked.recommend(USERS, k=k)
    assert varied.recommend(USERS, k=k, diversity=0.0, caps={}).equals(plain)
    assert not varied.recommend(USERS, k=k, caps={}).equals(plain)
    assert len(varied.recommend(USERS, k=k, diversity=0.0)) == 3 * len(USERS)


def test_caps_count_over_the_whole_answer(ranked: Recommender, dataset: Dataset) -> None:
    assert dataset.item_table is not None
    found = ranked.recommend(USERS, k=5, caps={"category": 2}, exclude_seen=False)
    joined = found.join(dataset.item_table.frame, on="item_id")
    assert joined.group_by("user_id", "category").len()["len"].max() == 2
    assert found.group_by("user_id").len()["len"].to_list() == [5] * len(USERS)


def test_diversity_needs_item_vectors(dataset: Dataset, models: list[Model]) -> None:
    with pytest.raises(RequestError, match="no source has any"):
        Recommender(models[1:], diversity=0.2)
    with pytest.raises(RequestError, match="no source has any"):
        Recommender(models[1:]).recommend(["u00"], diversity=0.2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"where": "categry = 'tea'"}, "Did you mean 'category'"),
        ({"where": "category"}, "true or false of each item"),
        ({"caps": {"categry": 2}}, "Did you mean 'category'"),
        ({"caps": {"category": 0}}, "whole number from 1"),
        ({"diversity": 2.0}, "from 0 to 1"),
    ],
)
def test_what_makes_no_sense_is_told_why(ranked: Recommender, arguments: dict[str, object], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        ranked.recommend(["u00"], **arguments)  # type: ignore[arg-type]


def test_a_condition_joins_the_lists(ranked: Recommender) -> None:
    found = ranked.recommend(["u00"], items=[1, 2, 4, 7], where="category = 'tea'", exclude=[4], exclude_seen=False)
    assert sorted(found["item_id"]) == [1, 7]  # 1, 4, 7, 10 … are tea
    assert ranked.recommend(["u00"], where="price > 1000").height == 0
