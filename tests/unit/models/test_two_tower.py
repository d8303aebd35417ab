"""The two towers with sparse gradients are the same model; settings that make no sense are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import shortlist as sl
from shortlist.data import Dataset
from shortlist.errors import SettingsError
from shortlist.fitting import training_batches

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
