"""A table of labelled rows without users and items to a :class:`Dataset` whose events are the rows, and a look for leaks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import polars as pl
import torch
from torch import Tensor

from shortlist.contracts import Features
from shortlist.data.dataset import Dataset
from shortlist.data.encode import Encoders, FeatureEncoder
from shortlist.data.events import EventColumns, arrange
from shortlist.data.guess import is_constant
from shortlist.errors import DataError, ShortlistWarning
from shortlist.schema import Schema
from shortlist.vocabulary import Vocabulary

LEAK_AUC = 0.99  # a column that tells the labels apart better than this is suspected to know them
LEAK_ROWS = 30_000  # rows to look at


def tabular_dataset(columns: EventColumns, schema: Schema, *, name: str, notes: list[str]) -> Dataset:
    """The rows in their order (by time where they have times), all of one sequence of item 0; their columns are context."""
    if columns.context is None:
        raise DataError(
            f"{name} has no feature: every column is left out or has a role. Name some in schema.features, with owner "
            '"context".'
        )
    num = len(columns.context)
    nobody = np.zeros(num, dtype=np.int32)
    events, context = arrange(columns, nobody, nobody, num_rows=0, num_items=0)
    assert context is not None
    notes += [f"{name}: {note}" for note in constant_columns(context)]
    encoder, encoded = FeatureEncoder.fit_encode(context, schema.of("context"))
    nothing = Vocabulary(np.zeros(0, dtype=np.int64))
    encoders = Encoders(nothing, nothing, context=encoder)
    if events.liked is not None:
        for column, value in telling(encoded, events.liked, encoder.column_names()):
            warnings.warn(
                f"{name}: {column!r} alone tells the labels apart (AUC {value:.3f}). If it is only known after the label, "
                "leave it out.",
                ShortlistWarning,
                stacklevel=3,
            )
    return Dataset(schema, encoders, events, events.offsets[:-1], context=encoded, notes=tuple(notes))


def telling(features: Features, labels: Tensor, names: Sequence[str]) -> list[tuple[str, float]]:
    """The columns that alone tell labels (N,) apart better than an AUC of .99, and that AUC.

    A category is judged by the labels of every other row with it, on the rows between. ``names`` are those of the
    categorical columns, then of the numeric ones.
    """
    rows = torch.linspace(0, len(labels) - 1, min(len(labels), LEAK_ROWS)).long()
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
    labels = labels[rows].double()
    half, other = slice(0, None, 2), slice(1, None, 2)
    columns: list[Tensor] = []
    if features.categorical is not None:
        first = torch.tensor(features.layout.offsets[: features.categorical.shape[1]])
        for column in (features.categorical[rows] - first).T:
            seen, liked = torch.bincount(column[half]), torch.bincount(column[half], weights=labels[half])
            rate = (liked + labels.mean()) / (seen + 1.0)
            met = column[other] < len(rate)
            columns.append(torch.where(met, rate[column[other].clamp(max=len(rate) - 1)], labels.mean()))
    if features.numeric is not None:
        columns += list(features.numeric[rows][other].double().T)
    areas = [_auc(column, labels[other]) for column in columns]
    found = zip(names, (max(area, 1 - area) for area in areas), strict=True)
    return [(name, area) for name, area in found if area > LEAK_AUC]


def _auc(scores: Tensor, labels: Tensor) -> float:
    """The chance that a row labelled 1 has a higher score than one labelled 0, ties counting half."""
    values, place = torch.unique(scores, return_inverse=True)
    positive = torch.bincount(place, weights=labels, minlength=len(values))
    negative = torch.bincount(place, weights=1 - labels, minlength=len(values))
    pairs = float(positive.sum() * negative.sum())
    below = negative.cumsum(0) - negative
    return float((positive * (below + negative / 2)).sum()) / pairs if pairs else 0.5


def constant_columns(frame: pl.DataFrame) -> list[str]:
    """A note for each column that says the same in every row."""
    return [
        f"{column.name!r} has one value in all {len(column):,} rows and says nothing"
        for column in frame.get_columns()
        if not column.dtype.is_nested() and is_constant(column)
    ]
