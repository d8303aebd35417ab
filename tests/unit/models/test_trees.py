"""Boosted trees as rankers: what they read, how many trees they keep, and what they say without their libraries."""

from __future__ import annotations

import importlib
from typing import Any

import polars as pl
import pytest
import torch

import shortlist as sl
from shortlist.contracts import Catalogue, FeatureLayout
from shortlist.errors import MissingExtraError, SettingsError

TREES = [sl.LightGBM(trees=4, leaves=8, min_rows=2), sl.CatBoost(trees=4, depth=3)]


@pytest.fixture(scope="module")
def clicks() -> pl.DataFrame:
    """A click depends on colour and size together; tags, shop and price say nothing."""
    draw = torch.Generator().manual_seed(0)
    colour, size, shop = (torch.randint(0, num, (3000,), generator=draw) for num in (4, 3, 5))
    likes = (colour + size) % 2 == 0
    click = torch.rand(3000, generator=draw) < torch.where(likes, 0.9, 0.1)
    return pl.DataFrame(
        {
            "colour": [f"c{value}" for value in colour.tolist()],
            "size": [f"s{value}" for value in size.tolist()],
            "tags": [[f"t{value}", "all"] for value in shop.tolist()],
            "price": torch.rand(3000, generator=draw).tolist(),
            "click": click.int().tolist(),
        }
    )


@pytest.mark.parametrize("settings", TREES, ids=["LightGBM", "CatBoost"])
def test_trees_learn_a_table_and_keep_the_best_number(settings: Any, clicks: pl.DataFrame) -> None:
    dataset = sl.read_dataset(clicks, schema={"label": "click"})
    train, valid, test = sl.split_random(dataset, valid=0.2, test=0.2)
    training = sl.Training(epochs=12, learning_rate=0.3, metric="logloss", patience=3)
    model = sl.fit(settings, train, validation=valid, training=training)
    assert model.log is not None
    best = min(model.log.epochs, key=lambda each: each.metrics["logloss"])
    assert model.log.best_epoch == best.epoch
    assert sl.evaluate(model, valid, metrics=["logloss"])["logloss"].value == pytest.approx(best.metrics["logloss"])
    assert sl.evaluate(model, test, metrics=["auc"])["auc"].value > 0.65  # chance is 0.5
    assert model.log.epochs[-1].loss < model.log.epochs[0].loss


@pytest.mark.parametrize("settings", TREES, ids=["LightGBM", "CatBoost"])
def test_trees_rerank_a_retrievers_candidates_with_its_evidence(settings: Any) -> None:
    draw = torch.Generator().manual_seed(1)
    rows = [(user, int(item), 100 * user + step) for user in range(60) for step, item in enumerate(torch.randperm(12, generator=draw)[:8] + 12 * (user % 2))]  # fmt: skip
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    frame = frame.with_columns(timestamp=pl.col("timestamp").shuffle(seed=0))
    earlier, later, test = sl.split_by_time(sl.read_dataset(frame), valid=0.25, test=0.2)
    retriever = sl.fit(sl.MF(embedding_dim=8), earlier, training=sl.Training(epochs=5, patience=None))
    ranker = sl.fit(settings, later, candidates_from=retriever, candidates=10, training=sl.Training(epochs=3))
    network: Any = ranker.network
    assert network.columns.evidence == 2
    recommender = sl.Recommender(retriever, ranker=ranker, candidates=10)
    assert 0 < sl.evaluate(recommender, test)["ndcg@10"].value <= 1
    assert len(recommender.recommend([0, 1], k=5)) == 10


def test_crossed_columns_reach_the_trees(clicks: pl.DataFrame) -> None:
    dataset = sl.read_dataset(clicks, schema={"label": "click", "cross": [["colour", "size"]]})
    model = sl.fit(TREES[0], dataset, training=sl.Training(epochs=2, patience=None))
    network: Any = model.network
    examples = network.columns.of_examples(_examples(model, dataset))
    assert examples[0].shape[1] == 2  # colour and size
    assert examples[1].shape[1] == 1 + 6 + 1 + 2  # price, the tags' values and the unknown one, the cross's two numbers
    assert len(network.columns.crosses.keys) == 12


def _examples(model: sl.Model, dataset: sl.Dataset) -> Any:
    from shortlist.data.training_batches import training_batches

    assert model.settings.sampling is not None
    return training_batches(dataset, model.settings.sampling, batch_size=100, seed=0).get(0, 0)


def test_too_many_multi_hot_values_are_refused() -> None:
    catalogue = Catalogue(3, 3, context=FeatureLayout(multi=(600,)))
    with pytest.raises(SettingsError, match=r"multi-hot fields have 600 values"):
        sl.LightGBM().build(catalogue)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"LightGBM\.leaves is 1"):
        sl.LightGBM(leaves=1)
    with pytest.raises(SettingsError, match=r"CatBoost\.loss is 'softmax'"):
        sl.CatBoost(loss="softmax")  # type: ignore[arg-type]


def test_without_its_library_a_ranker_says_what_to_install(
    clicks: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.import_module

    def without(name: str, *arguments: Any) -> Any:
        if name == "lightgbm":
            raise ImportError(name)
        return found(name, *arguments)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(MissingExtraError, match=r'pip install "shortlist\[trees\]"'):
        sl.fit(sl.LightGBM(), sl.read_dataset(clicks, schema={"label": "click"}))
