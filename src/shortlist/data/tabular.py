"""A table of labelled rows without users and items to a :class:`Dataset` whose events are the rows, and a look for leaks."""

from __future__ import annotations

import numpy as np
import polars as pl

from shortlist.data.dataset import Dataset
from shortlist.data.encode import Encoders, FeatureEncoder
from shortlist.data.events import EventColumns, arrange
from shortlist.errors import DataError
from shortlist.schema import Schema
from shortlist.vocabulary import Vocabulary


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
    encoder = FeatureEncoder.fit(context, schema.of("context"))
    nothing = Vocabulary(np.zeros(0, dtype=np.int64))
    encoders = Encoders(nothing, nothing, context=encoder)
    return Dataset(schema, encoders, events, events.offsets[:-1], context=encoder.encode(context), notes=tuple(notes))


def constant_columns(frame: pl.DataFrame) -> list[str]:
    """A note for each column that says the same in every row."""
    return [
        f"{column.name!r} has one value in all {len(column):,} rows and says nothing"
        for column in frame.get_columns()
        if not column.dtype.is_nested() and column.n_unique() <= 1
    ]
