"""A table of events to flat columns with checked values, and those to sequences in time order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from shortlist.contracts import Interactions
from shortlist.data.conditions import fulfilled
from shortlist.data.ids import read_ids
from shortlist.data.infer import check_positive
from shortlist.data.read import Table
from shortlist.data.times import read_times
from shortlist.errors import DataError
from shortlist.features import running_total
from shortlist.schema import Schema

Ints = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
Column = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class EventColumns:
    """Columns of E events in the file's order.

    ``keys`` sort a sequence, the weightiest first; with ``has_times`` the first one is the time, ``per_second`` of its
    units a second. ``values`` may hold ``ratings`` and ``weights`` (any numbers) and ``liked`` (bool).
    """

    keys: tuple[Column, ...]
    has_times: bool
    per_second: int
    values: dict[str, Column]
    context: pl.DataFrame | None
    notes: tuple[str, ...]


def read_events(table: Table, schema: Schema) -> tuple[pl.Series, pl.Series, EventColumns]:
    """Read the columns that ``schema`` names and check every value: the ids of rows and items (E,), and the rest.

    What makes no sense is a :class:`DataError` that names the first such row.
    """
    rule = None if schema.positive is None else check_positive(schema.positive, table)
    context = [feature.name for feature in schema.of("context")]
    used = [
        schema.sequence_id,
        schema.item_id,
        schema.timestamp,
        schema.rating,
        schema.weight,
        schema.label,
        table.order,
        *context,
    ]
    if rule is not None:
        used += rule.meta.root_names()
    columns = list(dict.fromkeys(name for name in used if name is not None))
    small = (schema.rating, schema.weight, schema.label)
    frame = table.collect(columns, narrow={name: pl.Int16 if name in small else pl.Int32 for name in columns})
    where, notes = table.name, list[str]()
    if not len(frame):
        raise DataError(f"{where} has no rows. Give a file with at least one event.")
    values: dict[str, Column] = {}
    if rule is not None or schema.label is not None:
        liked = _liked(frame, rule, schema, where)
        reason = schema.positive if schema.positive is not None else f"{schema.label} = 1"
        if not liked.any():
            raise DataError(
                f"{where}: none of {len(liked):,} events is liked ({reason}), so there is nothing to learn. Mend the rule."
            )
        notes.append(f"{where}: {int(liked.sum()):,} of {len(liked):,} events are liked ({reason})")
        values["liked"] = liked
    context_columns = table.with_paths(frame.select(context), schema.of("context")) if context else None
    row_ids = item_ids = pl.zeros(len(frame), dtype=pl.Int32, eager=True)  # of a table without them
    if schema.item_id is not None:
        assert schema.sequence_id is not None
        row_ids = read_ids(frame.drop_in_place(schema.sequence_id), where=where)
        item_ids = read_ids(frame.drop_in_place(schema.item_id), where=where)
    keys: list[Column] = []
    per_second = 1
    if schema.timestamp is not None:
        column = frame.drop_in_place(schema.timestamp)
        if table.order is not None and (missing := column.null_count()):
            notes.append(
                f"{where}: {missing:,} of {len(column):,} events have no {schema.timestamp}, so it is not used and {table.order!r} "
                "orders them; for splits by time keep only the rows that have one"
            )
        else:
            times = read_times(column, where=where)
            keys, per_second = [times.ticks.to_numpy()], times.per_second
            notes += times.notes
    has_times = bool(keys)
    if table.order is not None:
        keys.append(_numbers(frame[table.order], where, None).to_numpy())
    for name, role in (("ratings", "rating"), ("weights", "weight")):
        chosen = getattr(schema, role)
        if chosen is not None:
            values[name] = _numbers(frame.drop_in_place(chosen), where, role).to_numpy()
    if "weights" in values and values["weights"].min() < 0:
        row = int(values["weights"].argmin())
        raise DataError(
            f"{where}: {schema.weight!r} is {values['weights'][row]} in row {row + 1}. Weights are 0 or more."
        )
    return row_ids, item_ids, EventColumns(tuple(keys), has_times, per_second, values, context_columns, tuple(notes))


def without_repeats(events: EventColumns, rows: Ints, items: Ints) -> Bools | None:
    """Which events to keep where some equal an earlier one in every column that is used; None where none does."""
    ranked = _pairs(rows, items)
    ranked.sort()
    same = ranked[1:] == ranked[:-1]
    if not same.any():
        return None
    pairs, repeated = _pairs(rows, items), np.unique(ranked[1:][same])
    suspects = np.flatnonzero(np.isin(pairs, repeated))
    columns = {"pair": pairs, **{f"key{number}": key for number, key in enumerate(events.keys)}, **events.values}
    frame = pl.DataFrame({name: column[suspects] for name, column in columns.items()})
    if events.context is not None:
        frame = frame.hstack(events.context[suspects].rename(lambda name: f"context {name}"))
    first = frame.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()
    keep = np.ones(len(rows), dtype=np.bool_)
    keep[suspects[~first]] = False
    return None if first.all() else keep


def _pairs(rows: Ints, items: Ints) -> npt.NDArray[np.int64]:
    """One number for each pair of a row and an item."""
    pairs = rows.astype(np.int64)
    pairs *= int(items.max()) + 1
    pairs += items
    return pairs


def core(rows: Ints, items: Ints, *, min_row_events: int, min_item_events: int) -> Bools:
    """Which events (E,) remain when rows and items with too few events are taken out until all have enough.

    >>> core(np.array([1, 1, 2]), np.array([1, 2, 1]), min_row_events=2, min_item_events=1).tolist()
    [True, True, False]
    """
    keep = np.ones(len(rows), dtype=np.bool_)
    while True:
        enough = (np.bincount(rows[keep], minlength=rows.max() + 1) >= min_row_events)[rows]
        enough &= (np.bincount(items[keep], minlength=items.max() + 1) >= min_item_events)[items]
        remaining = keep & enough
        if remaining.sum() == keep.sum():
            return keep
        keep = remaining


def arrange(
    events: EventColumns, rows: Ints, items: Ints, *, num_rows: int, num_items: int, keep: Bools | None = None
) -> tuple[Interactions, pl.DataFrame | None]:
    """Group the events by row (indices 1 … ``num_rows``) in time order; also the context columns in the new order.

    The sort is stable: events of a row with equal times keep the order of the file. To keep memory low the columns are
    taken out of ``events.values`` as they are used.
    """
    order = _order(rows, events.keys, keep)

    def put(column: Column) -> Tensor:
        return torch.from_numpy(column.copy() if order is None else column[order])

    times: Tensor | None = None
    if events.has_times:
        times = put(events.keys[0]).long()
        if events.per_second > 1:
            times //= events.per_second
    kinds = {"ratings": torch.float32, "weights": torch.float32, "liked": torch.bool}
    values = {name: put(events.values.pop(name)).to(kinds[name]) for name in list(events.values)}
    context = events.context if events.context is None or order is None else events.context[order]
    counts = torch.bincount(torch.from_numpy(rows if keep is None else rows[keep]), minlength=num_rows + 1)
    offsets = running_total(counts)
    return (
        Interactions(
            offsets, put(items), num_items, times, values.get("ratings"), values.get("weights"), values.get("liked")
        ),
        context,
    )


def _order(rows: Ints, keys: tuple[Column, ...], keep: Bools | None) -> npt.NDArray[np.integer[Any]] | None:
    """The positions of the events as they should stand; None where they stand so."""
    chosen = None if keep is None else np.flatnonzero(keep)
    columns: list[Column] = [rows, *keys] if chosen is None else [column[chosen] for column in (rows, *keys)]
    if _is_sorted(columns):
        return chosen
    ranked = np.lexsort(tuple(reversed(columns)))
    if len(rows) < 2**31:
        ranked = ranked.astype(np.int32)
    return ranked if chosen is None else chosen[ranked]


def _is_sorted(columns: list[Column]) -> bool:
    """Whether the rows stand in the order of all columns, the first one weighing most."""
    tied = np.ones(max(len(columns[0]) - 1, 0), dtype=np.bool_)
    for column in columns:
        if (tied & (column[1:] < column[:-1])).any():
            return False
        tied &= column[1:] == column[:-1]
    return True


def _numbers(column: pl.Series, where: str, role: str | None) -> pl.Series:
    if isinstance(column.dtype, pl.Categorical | pl.Enum):
        column = column.cast(pl.String)
    numbers = column.cast(pl.Float64, strict=False) if column.dtype in (pl.String, pl.Boolean) else column
    is_number = numbers.dtype.is_numeric()
    bad = numbers.is_null() | ~numbers.is_finite() if is_number else column.is_null() | column.is_not_null()
    if bad.any():
        row = bad.arg_max()
        assert row is not None
        remedy = "" if role is None else f", or leave the column out: schema.{role} = None"
        raise DataError(
            f"{where}: {column.name!r} has {column[row]!r} in row {row + 1}, which is not a number ({int(bad.sum()):,} such rows of "
            f"{len(column):,}). Mend or drop them{remedy}."
        )
    return numbers


def _liked(frame: pl.DataFrame, rule: pl.Expr | None, schema: Schema, where: str) -> Bools:
    if rule is not None:
        what = f'{where}: schema.positive = "{schema.positive}"'
        liked = fulfilled(frame, rule, what=what, each="event", error=DataError, example="rating >= 4")
        return liked.to_numpy(writable=True)
    assert schema.label is not None
    labels = _numbers(frame[schema.label], where, "label")
    odd = (labels != 0) & (labels != 1)
    if odd.any():
        found = labels.filter(odd)[0]
        raise DataError(
            f"{where}: {schema.label!r} holds {found!r}. Labels are 0 or 1; for other values set schema.label = None."
        )
    return (labels == 1).to_numpy(writable=True)
