"""Every model that is trained can learn a few examples by heart."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.contracts.models.scoring import examples_of, scores_of
from tests.contracts.models.table import SEQUENTIAL, TRAINED

from shortlist.contracts import Requests
from shortlist.data import Dataset
from shortlist.fitting import fit
from shortlist.models import CrossAttention, TwoTower
from shortlist.training import Training


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_eight_sequences_are_memorised(name: str, dataset: Dataset) -> None:
    rows = (dataset.events.lengths > 2).nonzero().squeeze(1)[:8]
    first, wanted = dataset.events.offsets[rows], torch.arange(3, 19, 2)
    items = dataset.events.items.clone()
    items[first], items[first + 1] = (wanted + 1).to(items.dtype), wanted.to(items.dtype)
    kept = torch.isin(torch.arange(len(items)), torch.cat((first, first + 1)))
    few = replace(dataset, events=replace(dataset.events, items=items).select(kept))
    few = replace(few, target_start=few.events.offsets[:-1])
    model = fit(TRAINED[name], few, training=Training(epochs=200, patience=None, batch_size=8, learning_rate=0.02))
    asked = Requests(torch.zeros(8, dtype=torch.int64), (wanted + 1)[:, None], torch.ones(8, dtype=torch.int64))
    assert (scores_of(model, asked).argmax(1) + 1).tolist() == wanted.tolist()


# An unordered model knows a user by the other events alone, and here each has one.
OF_ONE = [name for name in TRAINED if not any(word in name for word in ("ratings", "unordered"))]


@pytest.mark.parametrize("name", [name for name in OF_ONE if name not in SEQUENTIAL])
def test_eight_requests_are_memorised(name: str, dataset: Dataset) -> None:
    settings = TRAINED[name]
    if isinstance(settings, TwoTower):
        settings = replace(settings, id_dropout=0.0)
    rows = (dataset.events.lengths > 2).nonzero().squeeze(1)[:8]
    first, wanted = dataset.events.offsets[rows], torch.arange(3, 19, 2)
    items = dataset.events.items.clone()
    items[first] = wanted.to(items.dtype)
    eight = replace(dataset.events, items=items).select(torch.isin(torch.arange(len(items)), first))
    few = replace(dataset, events=eight, target_start=eight.offsets[:-1])
    rate = 0.005 if isinstance(settings, CrossAttention) else 0.02  # attention wants smaller steps
    model = fit(settings, few, training=Training(epochs=300, patience=None, batch_size=8, learning_rate=rate))
    assert settings.sampling is not None
    examples = examples_of(settings, few, size=8)
    best = scores_of(model, examples.requests).argmax(1) + 1
    assert best.tolist() == examples.items[:, 0].tolist()


@pytest.mark.parametrize("name", [name for name in TRAINED if "ratings" in name])
def test_eight_ratings_are_memorised(name: str, dataset: Dataset) -> None:
    first = dataset.events.offsets[(dataset.events.lengths > 2).nonzero().squeeze(1)[:8]]
    eight = dataset.events.select(torch.isin(torch.arange(len(dataset.events)), first))
    few = replace(dataset, events=eight, target_start=eight.offsets[:-1])
    model = fit(TRAINED[name], few, training=Training(epochs=500, patience=None, batch_size=8, learning_rate=0.02))
    assert eight.ratings is not None
    torch.testing.assert_close(model.score_events(few), eight.ratings, atol=0.2, rtol=0)
