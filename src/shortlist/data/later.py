"""A file of later events to a part that a recommender can be evaluated on: what it knew, and what came after."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from shortlist.contracts import Interactions
from shortlist.data.dataset import Dataset
from shortlist.data.events import Bools, EventColumns, Ints, arrange, read_events
from shortlist.data.infer import check_schema
from shortlist.data.load import drop_repeats, open_table
from shortlist.data.read import Table
from shortlist.errors import DataError
from shortlist.features import running_total, stacked
from shortlist.vocabulary import Vocabulary


def read_later(events: Any, dataset: Dataset, *, format: str | None = None) -> Dataset:
    """Read ``events`` with the encoders of ``dataset``; its events are the known history, the new ones the part's own.

    Columns are called as in ``dataset.schema``. Rows of a table without items all stay. Events of users and items that ``dataset`` does not know are left out, and
    with timestamps those that are not later than its newest event; ``notes`` counts them, and ``unknown_targets`` the liked
    items of known users that are unknown. Nothing left is a :class:`DataError`.
    """
    table = open_table(events, "events", format)
    schema = replace(dataset.schema, features=dataset.schema.of("context"), title=None)
    check_schema(schema, table, items=None, users=None)
    row_ids, item_ids, columns = read_events(table, schema)
    notes = list(columns.notes)
    if schema.is_tabular:
        nobody = np.zeros(len(row_ids), dtype=np.int32)
        return _with_later(dataset, table, columns, nobody, nobody, None, notes)
    rows = _indices(row_ids, dataset.encoders.users)
    items = _indices(item_ids, dataset.encoders.items)
    first = drop_repeats(columns, rows, items, name=table.name, notes=notes)
    keep = np.ones(len(rows), dtype=np.bool_) if first is None else first
    outside = (rows > 0) & (items == 0) & columns.values.get("liked", np.True_)
    for known, what in ((rows > 0, "users" if schema.sequence == "user" else "sessions"), (items > 0, "items")):
        if not known.all():
            notes.append(
                f"{table.name}: {int((~known).sum()):,} of {len(known):,} events are of {what} unknown before; they are left out"
            )
        keep &= known
    before = dataset.events
    if before.times is not None and len(before):
        if not columns.has_times:
            raise DataError(
                f"{table.name}: not every event has a time, and the known events have. Keep only the rows that have one."
            )
        newest = int(before.times.max())
        is_later = columns.keys[0] // columns.per_second > newest
        if not is_later.all():
            notes.append(
                f"{table.name}: {int((~is_later).sum()):,} of {len(keep):,} events are not later than the known ones; they are left out"
            )
        keep &= is_later
        outside &= is_later
    if not keep.any():
        raise DataError(f"{table.name} has no event to evaluate on. {'; '.join(notes)}.")
    later = _with_later(dataset, table, columns, rows, items, keep, notes)
    taken = pl.DataFrame({"row": rows[outside], "item": item_ids.filter(pl.Series(outside))}).unique()
    unknown = torch.bincount(taken["row"].to_torch().long(), minlength=dataset.num_users + 1)
    return replace(later, unknown_targets=unknown) if len(taken) else later


def _with_later(
    dataset: Dataset, table: Table, columns: EventColumns, rows: Ints, items: Ints, keep: Bools | None, notes: list[str]
) -> Dataset:
    before = dataset.events
    later, frame = arrange(columns, rows, items, num_rows=dataset.num_users, num_items=dataset.num_items, keep=keep)
    order = torch.argsort(torch.cat((before.rows(), later.rows())), stable=True)
    joined = _joined(before, later, order)
    context = None
    if dataset.context is not None and dataset.encoders.context is not None and frame is not None:
        context = stacked(dataset.context, dataset.encoders.context.encode(frame)).take(order)
    start = joined.offsets[:-1] + before.lengths
    return replace(
        dataset, events=joined, target_start=start, context=context, notes=(*dataset.notes, *table.notes, *notes)
    )


def _indices(ids: pl.Series, vocabulary: Vocabulary) -> Ints:
    """Indices of ids; 7 and "7" are the same one, "07" is another."""
    if not vocabulary.is_integer:
        return vocabulary.encode(ids.cast(pl.String).to_list())
    if ids.dtype != pl.String:
        return vocabulary.encode(ids.to_numpy())
    numbers = ids.cast(pl.Int64, strict=False)
    is_number = (numbers.cast(pl.String) == ids).fill_null(value=False)
    found = vocabulary.encode(numbers.fill_null(0).to_numpy())
    return np.where(is_number.to_numpy(), found, 0).astype(np.int32)


def _joined(first: Interactions, second: Interactions, order: Tensor) -> Interactions:
    """The events of both, row by row."""

    def column(name: str) -> Tensor | None:
        parts = [getattr(events, name) for events in (first, second)]
        return None if any(part is None for part in parts) else torch.cat(parts)[order]

    items = torch.cat((first.items, second.items))[order]
    offsets = running_total(first.lengths + second.lengths)
    times = column("times")
    return Interactions(
        offsets,
        items,
        first.num_items,
        times,
        column("ratings"),
        column("weights"),
        column("liked"),
        strict=times is not None,
    )
