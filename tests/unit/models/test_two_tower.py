"""The two towers with sparse gradients are the same model; settings that make no sense are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import shortlist as sl
from shortlist.contracts import Requests
from shortlist.data import Dataset
from shortlist.data.training_batches import training_batches
from shortlist.errors import SettingsError

SETTINGS = sl.TwoTower(embedding_dim=8, hidden=(8,), history=5, negatives=4, id_dropout=0.0)


@pytest.mark.parametrize("pooling", ["recency", "attention"])
def test_sparse_gradients_are_the_dense_ones(pooling: str, dataset: Dataset) -> None:
    found = []
    for sparse in (False, True):
        settings = replace(SETTINGS, sparse=sparse, pooling=pooling)
        torch.manual_seed(0)
        network = settings.build(dataset.catalogue())
        examples = training_batches(dataset, settings.sampling, batch_size=32, seed=0).get(0, 0)
        value = network.loss(examples)
        value.backward()
        tables = {name for name, weight in network.named_parameters() if weight.grad.is_sparse}
        assert tables == ({"items.embedding.weight", "users.embedding.weight"} if sparse else set())
        found.append([value.detach(), *(weight.grad.to_dense() for weight in network.parameters())])
    for dense, own in zip(*found, strict=True):
        torch.testing.assert_close(dense, own)


def test_it_learns_by_row_wise_adagrad_alone(dataset: Dataset) -> None:
    settings = replace(SETTINGS, sparse=True)
    training = sl.Training(epochs=2, patience=None, batch_size=32, optimizer="rowwise_adagrad", learning_rate=0.05)
    model = sl.fit(settings, dataset, training=training)
    assert model.log.epochs[1].loss < model.log.epochs[0].loss
    with pytest.raises(SettingsError, match="sparse gradients are not for Adam"):
        sl.fit(settings, dataset, training=sl.Training(epochs=1))


def test_more_hard_negatives_than_there_are_to_draw_from_are_refused() -> None:
    with pytest.raises(SettingsError, match="hard_negatives is 5 of the best hard_pool = 4"):
        sl.TwoTower(hard_negatives=5, hard_pool=4)


def test_without_an_order_the_order_of_a_history_and_the_users_id_say_nothing(dataset: Dataset) -> None:
    network = replace(SETTINGS, ordered=False).build(dataset.catalogue())
    history = torch.tensor([[1, 2, 3, 4], [4, 2, 1, 3]])
    requests = Requests(torch.tensor([1, 2]), history, torch.tensor([4, 4]))
    vectors = network.embed_requests(requests)
    torch.testing.assert_close(vectors[0], vectors[1])
    assert network.can_serve(requests).all()
    nobody = Requests(torch.tensor([1]), torch.zeros(1, 0, dtype=torch.int64), torch.tensor([0]))
    assert not network.can_serve(nobody).any()
    ordered = SETTINGS.build(dataset.catalogue()).embed_requests(requests)
    assert not torch.allclose(ordered[0], ordered[1])


def test_without_hidden_layers_a_user_lies_where_the_mean_of_the_history_does(dataset: Dataset) -> None:
    network = replace(SETTINGS, ordered=False, hidden=()).build(replace(dataset.catalogue(), user_features=None))
    items = torch.tensor([[3, 5, 6]])
    mean = network.items.lookup(items).mean(1)
    found = network.embed_requests(Requests(torch.tensor([1]), items, torch.tensor([3])))
    torch.testing.assert_close(found, torch.nn.functional.normalize(mean, dim=1))


def test_a_bias_is_what_an_item_has_over_another_in_the_same_place(dataset: Dataset) -> None:
    settings = replace(SETTINGS, item_bias=True, temperature=0.2)
    network = settings.build(replace(dataset.catalogue(), item_features=None)).eval()
    examples = training_batches(dataset, settings.sampling, batch_size=32, seed=0).get(0, 0)
    with torch.no_grad():
        network.items.embedding.weight[2] = network.items.embedding.weight[1]
        network.item_bias.embedding.weight[2] = 1.5
        scores = network.embed_requests(examples.requests) @ network.embed_items(torch.tensor([1, 2])).T / 0.2
    torch.testing.assert_close(scores[:, 1] - scores[:, 0], torch.full((len(scores),), 1.5))


def test_no_order_needs_a_history() -> None:
    with pytest.raises(SettingsError, match="ordered = false knows a user by the history alone"):
        sl.TwoTower(ordered=False, history=0)
