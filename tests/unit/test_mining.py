"""Hard negatives are the network's own best wrong answers, each for its own request alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import shortlist as sl
from shortlist.data import Dataset
from shortlist.data.training_batches import training_batches
from shortlist.mining import MinedBatches

SETTINGS = sl.TwoTower(
    embedding_dim=8, hidden=(8,), history=4, negatives=2, hard_negatives=2, hard_pool=4, hard_after=1
)


def _batches(dataset: Dataset, settings: sl.TwoTower = SETTINGS) -> MinedBatches:
    torch.manual_seed(0)
    network = settings.build(dataset.catalogue()).train()
    return MinedBatches(training_batches(dataset, settings.sampling, batch_size=16, seed=0), network, seed=0)


def test_the_first_epochs_are_as_they_were(dataset: Dataset) -> None:
    mined, plain = _batches(dataset), training_batches(dataset, SETTINGS.sampling, batch_size=16, seed=0)
    assert (mined.num_steps, mined.num_examples) == (plain.num_steps, plain.num_examples)
    for ours, theirs in zip(
        *((found.negatives, found.also_positive) for found in (mined.get(0, 1), plain.get(0, 1))), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_each_request_meets_its_own_mistakes_alone(dataset: Dataset) -> None:
    batches = _batches(dataset)
    network, plain, mined = batches._network, batches._batches.get(1, 0), batches.get(1, 0)
    assert network.training
    old = len(plain.negatives)
    added = mined.negatives[old:]
    assert len(added)
    assert len(mined.negatives.unique()) == len(mined.negatives)
    assert torch.equal(mined.negatives_log_prob[old:], torch.zeros(len(added)))
    network.eval()
    with torch.no_grad():
        scores = network.embed_requests(mined.requests) @ network.embed_items(torch.arange(dataset.num_items + 1)).T
    liked = dataset.positives().events
    for row, user in enumerate(mined.requests.user.tolist()):
        own = liked.items[liked.offsets[user] : liked.offsets[user + 1]].long()
        scores[row, 0] = scores[row, own] = -torch.inf
        met = added[~mined.also_positive[row, old:]]
        assert len(met) <= 2
        assert torch.isin(met, scores[row].topk(4).indices).all()


def test_an_epoch_is_the_same_again(dataset: Dataset) -> None:
    batches = _batches(dataset)
    first, _, again = batches.get(2, 0), batches.get(2, 1), batches.get(2, 0)
    assert torch.equal(first.negatives, again.negatives)
    assert torch.equal(first.also_positive, again.also_positive)


def test_a_model_learns_with_them(dataset: Dataset) -> None:
    training = sl.Training(epochs=3, patience=None, batch_size=32)
    with_them, without = (
        sl.fit(settings, dataset, training=training).vectors()
        for settings in (SETTINGS, replace(SETTINGS, hard_negatives=0))
    )
    assert torch.isfinite(with_them).all()
    assert not torch.equal(with_them, without)


def test_other_batches_are_refused(dataset: Dataset) -> None:
    settings = sl.SASRec(embedding_dim=8, history=4)
    batches = training_batches(dataset, settings.sampling, batch_size=16, seed=0)
    with pytest.raises(TypeError, match="learn from pairs"):
        MinedBatches(batches, settings.build(dataset.catalogue()), seed=0)
