"""Sequence models index, re-rank, evaluate and serve like any retriever, and follow a session as it grows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from starlette.testclient import TestClient

import shortlist as sl
from shortlist.contracts import ModelSettings
from shortlist.service import ServiceSettings
from shortlist.service.app import create_app

CIRCLE = 24  # items; whoever is at one goes on to the next
MODELS: dict[str, ModelSettings] = {
    "gru4rec": sl.GRU4Rec(hidden=(24,), negatives=8, history=10),
    "sasrec": sl.SASRec(embedding_dim=24, history=10, num_blocks=1, dropout=0.1),
}


@pytest.fixture(scope="module")
def sessions() -> sl.Dataset:
    rows = [(start, f"i{(start + step) % CIRCLE:02d}") for start in range(4 * CIRCLE) for step in range(2 + start % 5)]
    frame = pl.DataFrame(rows, schema=["session_id", "item_id"], orient="row")
    return sl.read_dataset(frame, schema={"sequence": "session"})


def _fit(name: str, sessions: sl.Dataset) -> sl.Model:
    training = sl.Training(epochs=30, batch_size=16, learning_rate=0.01, patience=None)
    return sl.fit(MODELS[name], sessions, training=training)


@pytest.mark.parametrize("name", MODELS)
def test_recommendations_follow_a_session_as_it_grows(name: str, sessions: sl.Dataset, tmp_path: Path) -> None:
    recommender = sl.Recommender(_fit(name, sessions))
    recommender.save(tmp_path / "bundle")
    client = TestClient(create_app(ServiceSettings(bundle=tmp_path / "bundle")))
    session: list[dict[str, str]] = []
    for here in (3, 4, 11, 12, 12, 3):
        session.append({"item_id": f"i{here:02d}"})
        answer = recommender.recommend(events=session, k=3, exclude_seen=False)
        assert answer["item_id"][0] == f"i{here + 1:02d}"
        assert answer["source"].to_list() == ["session"] * 3
        served = client.post("/recommend", json={"events": session, "k": 3, "exclude_seen": False}).json()
        assert [item["item_id"] for item in served["items"]] == answer["item_id"].to_list()


@pytest.mark.parametrize("name", MODELS)
def test_the_same_seed_gives_the_same_weights(name: str, sessions: sl.Dataset) -> None:
    first, again = (_fit(name, sessions).network.state_dict() for _ in range(2))
    assert all(torch.equal(first[key], again[key]) for key in first)


@pytest.mark.parametrize("name", MODELS)
def test_a_session_of_nothing_known_gets_popular_items(name: str, sessions: sl.Dataset) -> None:
    recommender = sl.Recommender(_fit(name, sessions))
    with pytest.warns(sl.ShortlistWarning, match="1 item ids are not in the catalogue"):
        answer = recommender.recommend(events=[{"item_id": "nowhere"}], k=2)
    assert answer["source"].to_list() == ["popularity"] * 2


@pytest.mark.parametrize("name", MODELS)
def test_the_command_line_trains_a_funnel_with_it(
    name: str, shop_files: Any, run: Callable[..., Any], tmp_path: Path
) -> None:
    width = "retriever.hidden=[16]" if name == "gru4rec" else "retriever.embedding_dim=16"
    trained = run("train", shop_files.events, "--retriever", name, "--ranker", "neumf", "--set", "training.epochs=1",
                  "--set", width, "--out", tmp_path / "a.bundle")  # fmt: skip
    assert trained.exit_code == 0, trained.output
    report = json.loads(run("evaluate", tmp_path / "a.bundle", "--json").stdout)
    assert {figure["metric"] for figure in report["bundle"]["metrics"]} >= {"ndcg@10", "hr@10"}
    user = sl.load(tmp_path / "a.bundle").known_users()[0]
    shown = json.loads(run("recommend", tmp_path / "a.bundle", "--user", user, "--k", 3, "--json").stdout)
    assert [row["rank"] for row in shown] == [1, 2, 3]


def test_a_retriever_does_not_learn_from_candidate_lists(shop_files: Any) -> None:
    dataset = sl.read_dataset(shop_files.events)
    train, _, test = sl.split_by_time(dataset, valid=0, test=0.1)
    model = sl.fit(sl.Popularity(), train)
    with pytest.raises(sl.SettingsError, match=r"SASRec is a retriever: it does not learn from candidate lists"):
        sl.fit(sl.SASRec(embedding_dim=8), test, candidates_from=model)


def test_the_command_line_splits_sessions_whole_and_compares_with_what_others_did(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    lines = [" ".join(f"i{(start + step) % CIRCLE:02d}" for step in range(5)) for start in range(60)]
    (tmp_path / "visits.txt").write_text("\n".join(lines))
    trained = run("train", tmp_path / "visits.txt", "--format", "sessions", "--retriever", "gru4rec",
                  "--set", 'data.schema.sequence="session"', "--set", "exclude_seen=false", "--set", "training.epochs=2",
                  "--set", "retriever.hidden=[8]", "--out", tmp_path / "a.bundle")  # fmt: skip
    assert trained.exit_code == 0, trained.output
    assert "whole sessions: train 240, validation 24, test 24 events" in trained.output
    report = json.loads(run("evaluate", tmp_path / "a.bundle", "--repeats", "--metrics", "hr@5", "--json").stdout)
    assert {"bundle", "popularity", "item-kNN", "ALS"} == set(report)
    (found,) = report["item-kNN"]["metrics"]
    assert found["value"] > 0.2  # from all other sessions; from the test's own first events it could not be


def test_sparse_gradients_need_an_optimiser_that_takes_them(sessions: sl.Dataset) -> None:
    settings = sl.GRU4Rec(hidden=(8,), negatives=4, sparse=True)
    with pytest.raises(sl.SettingsError, match=r"sparse gradients are not for Adam"):
        sl.fit(settings, sessions, training=sl.Training(epochs=1))
    clipped = sl.Training(epochs=1, optimizer="adagrad", learning_rate=0.1, clip_norm=1.0)
    with pytest.raises(sl.SettingsError, match=r"sparse gradients cannot be clipped"):
        sl.fit(settings, sessions, training=clipped)
    training = sl.Training(epochs=3, optimizer="adagrad", learning_rate=0.1, patience=None)
    model = sl.fit(settings, sessions, training=training)
    assert model.log is not None
    assert model.log.epochs[-1].loss < model.log.epochs[0].loss


def test_sparse_and_dense_gradients_give_the_same_model(sessions: sl.Dataset) -> None:
    training = sl.Training(epochs=2, optimizer="adagrad", learning_rate=0.1, patience=None)
    states = [
        sl.fit(sl.GRU4Rec(hidden=(8,), negatives=4, sparse=sparse), sessions, training=training).network.state_dict()
        for sparse in (False, True)
    ]
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-4, atol=1e-5)
