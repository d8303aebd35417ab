"""A data set and what a model learns from to its batches."""

from __future__ import annotations

from dataclasses import replace

from shortlist.contracts import Sampling
from shortlist.data.dataset import Dataset
from shortlist.data.pairs import PairBatches
from shortlist.data.sequences import SequenceBatches

TrainingBatches = PairBatches | SequenceBatches


def training_batches(dataset: Dataset, sampling: Sampling, *, batch_size: int, seed: int) -> TrainingBatches:
    """The batches that ``sampling`` asks for."""
    kind = SequenceBatches if sampling.kind == "sequences" else PairBatches
    return kind(dataset, with_labels(sampling, dataset), batch_size=batch_size, seed=seed)


def with_labels(sampling: Sampling, dataset: Dataset) -> Sampling:
    """The sampling with labels where the data has them: other data gives a positive and its negatives."""
    if sampling.kind == "labels" and dataset.schema.label is None:
        return replace(sampling, kind="pairs")
    return sampling
