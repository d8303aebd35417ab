"""The two towers: what a hidden or unmet id leaves, how the history is pooled, and that the context counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import shortlist as sl
from shortlist.contracts import KnowsItemFeatures, Requests
from shortlist.data import Dataset
from shortlist.data.training_batches import training_batches
from shortlist.errors import SettingsError
from shortlist.models.two_tower import TwoTowerNetwork

SETTINGS = sl.TwoTower(embedding_dim=8, hidden=(8,), history=6, negatives=8)


def _network(settings: Any, dataset: Dataset) -> TwoTowerNetwork:
    torch.manual_seed(0)
    network: TwoTowerNetwork = settings.build(dataset.catalogue())
    return network


def _without(dataset: Dataset, item: int) -> Dataset:
    events = dataset.events.select(dataset.events.items != item)
    return replace(dataset, events=events, target_start=events.offsets[:-1])


def test_an_item_that_training_does_not_meet_is_its_features(dataset: Dataset) -> None:
    """Two items with the same features, neither met, get the same vector, which is that of an item without an id."""
    assert dataset.item_features is not None
    rows = torch.arange(dataset.num_items + 1)
    rows[7] = 12
    same = replace(dataset, item_features=dataset.item_features.take(rows))
    part = _without(_without(same, 7), 12)
    model = sl.fit(SETTINGS, part, training=sl.Training(epochs=3, patience=None, batch_size=32))
    network: Any = model.network
    assert isinstance(network, KnowsItemFeatures)
    one, other, met = network.embed_items(torch.tensor([7, 12, 5])).detach()
    assert torch.equal(one, other)
    assert network.items.lookup(torch.tensor([7, 12])).count_nonzero() == 0
    features = same.item_features.take(torch.tensor([7]))  # type: ignore[union-attr]
    vector = network.features["item"](features)
    torch.testing.assert_close(torch.nn.functional.normalize(vector + network.item_tower(vector), dim=1)[0], one)
    assert not torch.allclose(one, met)


def test_that_nobody_took_an_unmet_item_teaches_nothing(dataset: Dataset) -> None:
    """As a negative it would push away all items that are like it."""
    network = _network(SETTINGS, dataset)
    examples = training_batches(dataset, SETTINGS.sampling, batch_size=32, seed=0).get(0, 0)
    assert examples.target_column is not None
    assert examples.negatives is not None
    assert examples.also_positive is not None
    targets = torch.zeros(len(examples.negatives), dtype=torch.bool)
    targets[examples.target_column] = True
    unmet = int(examples.negatives[~targets][0])
    network.eval()
    before = network.loss(examples)
    network.unmet[unmet] = True
    masked = examples.also_positive.clone()
    masked[:, examples.negatives == unmet] = True
    without = replace(examples, also_positive=masked)
    assert network.loss(examples) < before
    torch.testing.assert_close(network.loss(examples), network.loss(without))


def test_without_item_features_unmet_items_learn_from_being_refused(dataset: Dataset) -> None:
    network = _network(SETTINGS, replace(dataset, item_features=None))
    network.forget_items(torch.tensor([7]))
    assert network.items.lookup(torch.tensor([7])).count_nonzero() > 0
    assert not network.unmet.any()


def test_id_dropout_hides_users_and_items_in_training_only(dataset: Dataset) -> None:
    network = _network(replace(SETTINGS, id_dropout=0.5), dataset)
    items = torch.full((400,), 5)
    in_training = network.train().embed_items(items).unique(dim=0)
    assert len(in_training) == 2  # with its id and without
    assert len(network.eval().embed_items(items).unique(dim=0)) == 1
    none = _network(replace(SETTINGS, id_dropout=0.0), dataset).train()
    assert len(none.embed_items(items).unique(dim=0)) == 1


def test_attention_weighs_the_history_by_recency_and_by_what_the_items_are(dataset: Dataset) -> None:
    network = _network(replace(SETTINGS, pooling="attention"), dataset)
    assert network.query is not None
    assert network.recency is not None
    history, length = torch.tensor([[3, 9, 4, 0]]), torch.tensor([3])
    vectors = network.items.lookup(history[0, :3])
    weights = torch.softmax(network.recency[torch.tensor([2, 1, 0])] + vectors @ network.query, dim=0)
    torch.testing.assert_close(network._pool(history, length)[0], weights @ vectors)
    empty = network._pool(torch.zeros(1, 4, dtype=torch.int64), torch.tensor([0]))
    assert empty.count_nonzero() == 0


def test_attention_without_a_query_is_recency(dataset: Dataset) -> None:
    network, plain = (_network(replace(SETTINGS, pooling=pooling), dataset) for pooling in ("attention", "recency"))
    assert plain.query is None
    assert network.query is not None
    torch.nn.init.zeros_(network.query)
    plain.load_state_dict({name: table for name, table in network.state_dict().items() if name != "query"})
    history, length = torch.tensor([[3, 9, 4], [7, 0, 0]]), torch.tensor([3, 1])
    assert network.recency is not None
    assert plain.recency is not None
    torch.testing.assert_close(network._pool(history, length), plain._pool(history, length))


def test_the_context_of_a_request_reaches_the_user_tower(rich_dataset: Dataset) -> None:
    network = _network(SETTINGS, rich_dataset).eval()
    context = rich_dataset.context
    assert context is not None
    user, history, length = torch.ones(2).long(), torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2).long()
    requests = Requests(user, history, length, context=context.take(torch.tensor([0, 1])))
    one, other = network.embed_requests(requests)
    nothing = network.embed_requests(replace(requests, context=None))
    assert not torch.allclose(one, other)
    assert torch.equal(nothing[0], nothing[1])


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"pooling": "atention"}, r"pooling is 'atention'.* Did you mean 'attention'"),
        ({"id_dropout": 1.0}, r"id_dropout is 1\.0"),
    ],
)
def test_settings_out_of_range_are_refused(stated: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        sl.TwoTower(**stated)
