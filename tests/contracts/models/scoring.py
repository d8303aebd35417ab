"""Models fitted in no time, what they are asked and learn from, and the scores that they give."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from shortlist.contracts import CandidateSource, Examples, Features, ModelSettings, Requests, Retriever
from shortlist.data import Dataset
from shortlist.data.batches import evaluation_batches
from shortlist.data.training_batches import training_batches
from shortlist.fitting import fit
from shortlist.model import Model, pair_scores
from shortlist.training import Training


def requests_of(dataset: Dataset, history: int) -> Requests:
    """All users' requests after their last event."""
    full = replace(dataset, target_start=dataset.events.offsets[1:] - 1)
    (batch,) = evaluation_batches(full, history=history)
    return batch.requests


def fitted(settings: ModelSettings, dataset: Dataset) -> Model:
    return fit(settings, dataset, training=Training(epochs=2, patience=None, batch_size=32))


def scores_of(model: Model, requests: Requests) -> Tensor:
    """Scores (B, I) of items 1 … I, by whatever the model is."""
    items = torch.arange(1, model.dataset.num_items + 1).expand(len(requests), -1)
    if isinstance(model.network, CandidateSource) and not isinstance(model.network, Retriever):
        found = model.network.search(requests, model.dataset.num_items + 1)
        scores = torch.full((len(requests), model.dataset.num_items + 1), -torch.inf)
        return scores.scatter(1, found.items, found.scores)[:, 1:]
    return pair_scores(model.network, requests, items)


def examples_of(settings: ModelSettings, dataset: Dataset, size: int = 1_000) -> Examples:
    assert settings.sampling is not None
    return training_batches(dataset, settings.sampling, batch_size=size, seed=0).get(0, 0)


def in_float64(dataset: Dataset) -> Dataset:
    def exact(features: Features | None) -> Features | None:
        if features is None:
            return None
        numbers = {name: getattr(features, name) for name in ("numeric", "vectors")}
        return replace(features, **{name: part.double() for name, part in numbers.items() if part is not None})

    weights = None if dataset.events.weights is None else dataset.events.weights.double()
    ratings = None if dataset.events.ratings is None else dataset.events.ratings.double()
    return replace(
        dataset,
        events=replace(dataset.events, weights=weights, ratings=ratings),
        item_features=exact(dataset.item_features),
        user_features=exact(dataset.user_features),
        context=exact(dataset.context),
    )
