"""Texts and pictures of items that nobody has taken yet tell who will like them; what serves looks at a picture once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import shortlist as sl
from shortlist.contracts import Candidates, Catalogue, FeatureLayout, Features, Requests
from shortlist.data import Dataset
from shortlist.data.synthetic_looks import make_looks
from shortlist.errors import SettingsError
from shortlist.evaluation import evaluate_predictions
from shortlist.models.fields import Fields
from shortlist.models.images import ImageTower

COLD = 60
PHOTO = {"name": "photo", "kind": "image", "size": 24}
DESCRIPTION = {"name": "description", "kind": "text"}


@pytest.fixture(autouse=True)
def _threads(one_thread: Iterator[None]) -> None:
    """So little work is done fastest by one thread."""


def _auc_on_cold_items(column: str | None) -> float:
    """How well a two-tower model tells which of the items without any event are of the look that a user likes."""
    made = make_looks(cold=COLD)
    features = [{**each, "owner": "item"} for each in (PHOTO, DESCRIPTION) if each["name"] == column]
    columns = [column] if column is not None else []
    dataset = sl.read_dataset(made.events, items=made.items.select("item_id", *columns), schema={"features": features})
    settings = sl.TwoTower(embedding_dim=32, hidden=(32,), history=20, negatives=128, id_dropout=0.3)
    training = sl.Training(epochs=5, batch_size=256, patience=None, learning_rate=3e-3)
    model = sl.fit(settings, dataset, training=training)
    network: Any = model.network
    users = torch.arange(1, dataset.num_users + 1)
    items = torch.arange(dataset.num_items - COLD + 1, dataset.num_items + 1)
    with torch.inference_mode():
        scores = network.embed_requests(model.requests_of(users)) @ network.embed_items(items).T  # (U, COLD)
    likes = made.tastes[:, None] == made.looks[None, -COLD:]
    report = evaluate_predictions(torch.sigmoid(scores).numpy().ravel(), labels=likes.ravel(), bootstrap=0)
    return report["auc"].value


def test_pictures_tell_who_will_like_a_new_item() -> None:
    assert _auc_on_cold_items("photo") > 0.8


def test_descriptions_tell_who_will_like_a_new_item() -> None:
    assert _auc_on_cold_items("description") > 0.9


def test_without_either_nothing_is_known_of_a_new_item() -> None:
    assert _auc_on_cold_items(None) < 0.6


@pytest.mark.parametrize(
    ("settings", "seen"),
    [(sl.DLRM(top=(32,)), PHOTO), (sl.DeepFM(embedding_dim=16, hidden=(32,), init_std=0.05), DESCRIPTION)],
)
def test_rankers_learn_what_is_in_a_picture_or_a_text(settings: Any, seen: dict[str, Any]) -> None:
    """A click depends on a taste and on the look of a picture that no other row has; the best AUC is about .9."""
    made, draw = make_looks(users=1, items=1500, events=1, cold=0), np.random.default_rng(0)
    taste = draw.integers(4, size=1500)
    click = draw.random(1500) < np.where(taste == made.looks, 0.9, 0.1)
    rows = made.items.select(
        str(seen["name"]), taste=pl.Series([f"t{each}" for each in taste]), click=pl.Series(click.astype(int))
    )
    features = [{"name": "taste", "kind": "categorical", "owner": "context"}, {**seen, "owner": "context"}]
    dataset = sl.read_dataset(rows, schema={"label": "click", "features": features})
    train, valid, test = sl.split_random(dataset, valid=0.1, test=0.2)
    training = sl.Training(epochs=15, batch_size=64, learning_rate=3e-3, patience=5, metric="auc")
    model = sl.fit(settings, train, validation=valid, training=training)
    assert sl.evaluate(model, test, metrics=["auc"])["auc"].value > 0.75


def _seen_pictures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    seen: list[int] = []
    embed = ImageTower._embed

    def counting(tower: ImageTower, images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return embed(tower, images)

    monkeypatch.setattr(ImageTower, "_embed", counting)
    return seen


def test_a_ranker_looks_at_each_picture_once_while_it_serves(
    rich_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    network: Any = sl.DeepFM(hidden=(8,)).build(rich_dataset.catalogue()).eval()
    model = sl.Model(sl.DeepFM(), network, rich_dataset, rich_dataset.catalogue(), None)  # type: ignore[arg-type]
    requests = model.requests_of(torch.tensor([1, 2]))
    items = torch.tensor([[3, 4, 5], [5, 5, 6]])
    seen = _seen_pictures(monkeypatch)
    with torch.inference_mode():
        for _ in range(3):
            network.score(requests, Candidates(items, torch.zeros(2, 3)))
    of_all_items = rich_dataset.num_items + 1
    of_context = [2, 2, 2]
    assert sorted(seen) == [*of_context, of_all_items]
    with torch.no_grad():
        network.fields.dense["item"].images[0].last.bias += 1
        network.score(requests, Candidates(items, torch.zeros(2, 3)))
    assert seen.count(of_all_items) == 2


def test_in_training_an_item_that_comes_again_is_looked_at_once(
    rich_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = _seen_pictures(monkeypatch)
    fields = Fields(rich_dataset.catalogue(), 4, init=torch.nn.init.normal_)
    vectors, _ = fields.of_items(torch.tensor([[3, 4, 3], [3, 4, 4]]))
    assert seen == [2]
    torch.testing.assert_close(vectors[0, 0], vectors[1, 0])
    tower: Any = sl.TwoTower(embedding_dim=8, hidden=(8,)).build(rich_dataset.catalogue())
    tower.embed_items(torch.tensor([[3, 4, 3], [3, 4, 4]]))
    assert seen == [2, 2]


def test_a_picture_has_the_same_vector_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shortlist.models.images.AT_ONCE", 3)
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    tower = ImageTower(5)
    with torch.no_grad():
        torch.testing.assert_close(tower(images), torch.cat([tower(image[None]) for image in images]))


def test_trees_read_vectors_and_refuse_pictures() -> None:
    features = Features(FeatureLayout(images=(8,)), images=(torch.zeros(3, 3, 8, 8, dtype=torch.uint8),))
    with pytest.raises(SettingsError, match="only a network can see. Give the feature an encoder"):
        sl.LightGBM().build(Catalogue(1, 2, features))
    network: Any = sl.LightGBM().build(
        Catalogue(0, 2, Features(FeatureLayout(vectors=(2,)), vectors=torch.eye(3)[:, :2]))
    )
    _, numbers = network.columns(Requests(user=torch.zeros(1, dtype=torch.int64)), torch.tensor([[1, 2]]), None, None)
    assert numbers.tolist() == [[0, 1], [0, 0]]
