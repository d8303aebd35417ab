"""Event, item and user tables to a :class:`Dataset`; the words for what was dropped or added on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch

from shortlist.contracts import Features
from shortlist.data.attributes import askable
from shortlist.data.dataset import Dataset
from shortlist.data.encode import Encoders, FeatureEncoder
from shortlist.data.events import Bools, EventColumns, Ints, arrange, core, read_events, without_repeats
from shortlist.data.ids import distinct, positions, read_ids, same_kind
from shortlist.data.infer import has_items, id_column, infer_schema
from shortlist.data.item_table import ItemTable
from shortlist.data.lines import FORMATS as LINE_FORMATS
from shortlist.data.lines import read_libfm, read_lines
from shortlist.data.movielens import Role, is_movielens, read_movielens
from shortlist.data.read import Table, read_table
from shortlist.data.tabular import tabular_dataset
from shortlist.data.titles import Titles
from shortlist.errors import DataError, SchemaError, SettingsError, nearest
from shortlist.schema import Feature, Schema
from shortlist.texts import Texts
from shortlist.vocabulary import Vocabulary


def read_dataset(
    events: Any,
    *,
    items: Any = None,
    users: Any = None,
    schema: Schema | Mapping[str, Any] | None = None,
    format: str | None = None,
    min_user_events: int = 1,
    min_item_events: int = 1,
) -> Dataset:
    """Read events, and perhaps item and user tables, into one :class:`Dataset`.

    Each source is a path or frame as for :func:`read_table`. What the columns mean is inferred (see
    :func:`infer_schema`); ``schema`` overrides it. ``format="movielens"`` reads MovieLens' own files; they are also
    known by their names. ``format="user_items"`` reads lines of a user and items, ``format="sessions"`` lines of items,
    ``format="libfm"`` labelled rows of categories. ``Dataset.notes`` says all that was guessed, dropped or filled.

    With ``schema={"item_id": None, "label": …}``, or a label and no column of items, the events are a table of rows
    without users and items: all its other columns are features, and there is nothing to recommend, but a ranker learns
    to tell the labels apart.

    Events are grouped by user (or session) in time order; equal times, and all events without timestamps, keep the
    order of the file. An event that equals an earlier one in every column that is used is dropped; where the file has
    neither times nor ratings it may be a real repeat, and stays. The vocabularies hold all ids of the events and of the
    tables, sorted. They and the feature encoders are fitted on everything that is read, before any split: this tells a
    model which ids and values exist, not who chose what.

    ``min_user_events`` and ``min_item_events`` above 1 take out users and items with fewer events until all that are
    left have enough; those of the tables that have no events go as well.

    >>> frame = pl.DataFrame({"user": ["b", "a", "b"], "item": [7, 7, 5], "time": [30, 10, 20]})
    >>> dataset = read_dataset(frame)
    >>> dataset.encoders.users.ids.tolist(), dataset.events.offsets.tolist()
    (['a', 'b'], [0, 0, 1, 3])
    >>> dataset.encoders.items.decode(dataset.events.items).tolist()
    [7, 5, 7]
    """
    if min_user_events < 1 or min_item_events < 1:
        raise SettingsError(
            f"min_user_events and min_item_events are 1 or more; found {min_user_events} and {min_item_events}."
        )
    event_table = open_table(events, "events", format)
    if not has_items(event_table, schema):
        event_table = event_table.compact()
    item_table = None if items is None else open_table(items, "items", format).loaded()
    user_table = None if users is None else open_table(users, "users", format).loaded()
    meaning, guesses = infer_schema(event_table, items=item_table, users=user_table, given=schema)
    if meaning.sequence == "session" and user_table is not None:
        raise SchemaError(
            f'{user_table.name} describes users, and a row of the data set is a session. Leave it out, or set schema.sequence = "user".'
        )
    if item_table is not None:
        item_table = item_table.resolved(meaning.of("item"))
    if user_table is not None:
        user_table = user_table.resolved(meaning.of("user"))
    row_ids, item_ids, columns = read_events(event_table, meaning)
    if not columns.has_times:
        meaning = replace(meaning, timestamp=None)
    tables = [table for table in (event_table, item_table, user_table) if table is not None]
    notes = [*(note for table in tables for note in table.notes), *guesses, *columns.notes]
    if meaning.item_id is None:
        return tabular_dataset(columns, meaning, name=event_table.name, notes=notes)
    sequences = "users" if meaning.sequence == "user" else "sessions"
    user_side = _join(row_ids, event_table.name, user_table, meaning.user_id, "user_id", sequences, notes)
    item_side = _join(item_ids, event_table.name, item_table, meaning.item_id, "item_id", "items", notes)
    del row_ids, item_ids  # 1M events need their memory for the sort
    keep = drop_repeats(columns, user_side.events, item_side.events, name=event_table.name, notes=notes)
    if min_user_events > 1 or min_item_events > 1:
        keep = _core(user_side, item_side, keep, min_user_events, min_item_events, notes)
        user_side = user_side.only_active(keep, min_user_events)
        item_side = item_side.only_active(keep, min_item_events)
    if len(user_side.ids) == 1:
        notes.append(
            f"{event_table.name}: there is only one {sequences[:-1]}, so nothing can be learnt from others' choices"
        )
    interactions, context = arrange(
        columns,
        user_side.events,
        item_side.events,
        num_rows=len(user_side.ids),
        num_items=len(item_side.ids),
        keep=keep,
    )
    user_encoder, user_features = user_side.encode(meaning.of("user"))
    item_encoder, item_features = item_side.encode(meaning.of("item"))
    context_encoder, encoded_context = None, None
    if context is not None:
        context_encoder, encoded_context = FeatureEncoder.fit_encode(context, meaning.of("context"))
    encoders = Encoders(
        Vocabulary.of_distinct(user_side.ids),
        Vocabulary.of_distinct(item_side.ids),
        user_encoder,
        item_encoder,
        context_encoder,
        None if meaning.title is None or item_table is None else item_side.titles(meaning.title),
    )
    return Dataset(
        meaning,
        encoders,
        interactions,
        interactions.offsets[:-1],
        user_features,
        item_features,
        encoded_context,
        tuple(notes),
        item_side.askable(meaning.item_id),
    )


def open_table(source: Any, role: Role, format: str | None) -> Table:
    """Open a source as its format says; MovieLens' files are known by their names."""
    formats = ("movielens", "libfm", *LINE_FORMATS)
    if format is not None and format not in formats:
        raise SettingsError(
            f"There is no format {format!r}.{nearest(format, formats)} Formats: {', '.join(formats)}; leave it out for plain "
            "files and frames."
        )
    if role == "events" and format == "libfm":
        return read_libfm(source)
    if role == "events" and format in LINE_FORMATS:
        return read_lines(source, format=format)
    if format in (*LINE_FORMATS, "libfm"):
        return read_table(source, name=role)
    if format is None and is_movielens(source, role):
        table = read_movielens(source, role=role)
        return replace(table, notes=(f"{table.name}: read as MovieLens' {role}", *table.notes))
    return read_movielens(source, role=role) if format == "movielens" else read_table(source, name=role)


@dataclass(frozen=True, slots=True)
class _Side:
    """The users or the items: their ids, where the events point among them, and their table's rows."""

    ids: pl.Series  # sorted; position p has index p+1
    events: Ints  # (E,) indices
    table: pl.DataFrame | None  # a column "\\0id" and the others
    plural: str

    def only_active(self, keep: Bools | None, least: int) -> _Side:
        """Without the ids that have no events left; with ``least`` = 1, those of the table stay."""
        seen = self.events if keep is None else self.events[keep]
        active = np.bincount(seen, minlength=len(self.ids) + 1)[1:] > 0
        if least == 1 and self.table is not None:
            active |= self.ids.is_in(self.table[ID].implode()).to_numpy()
        moved = np.zeros(len(self.ids) + 1, dtype=np.int32)
        moved[1:][active] = np.arange(1, active.sum() + 1)
        return replace(self, ids=self.ids.filter(pl.Series(active)), events=moved[self.events])

    def encode(self, features: tuple[Feature, ...]) -> tuple[FeatureEncoder | None, Features | None]:
        """The encoder fitted on the table, and the encoded rows of all ids after the unknown one's."""
        if self.table is None or not features:
            return None, None
        wanted = self.table.filter(pl.col(ID).is_in(self.ids.implode()))
        encoder = FeatureEncoder.fit(wanted, features)
        encoded = encoder.encode(pl.concat([wanted, wanted.clear(1)]))  # the last is of ids that the table lacks
        rows = self._aligned(wanted.select(ID).with_row_index(ROW))[ROW].fill_null(len(wanted))
        return encoder, encoded.take(torch.from_numpy(rows.cast(pl.Int64).to_numpy(writable=True)))

    def askable(self, id_name: str) -> ItemTable | None:
        """The table's raw columns with the ids, a row for each index from 1; None without a table."""
        if self.table is None:
            return None
        return ItemTable(askable(self._aligned(self.table)[1:].rename({ID: id_name})))

    def titles(self, column: str) -> Titles:
        assert self.table is not None
        return Titles(Texts.of(self._aligned(self.table)[column].cast(pl.String).fill_null("").to_list()[1:]))

    def _aligned(self, table: pl.DataFrame) -> pl.DataFrame:
        """A row of ``table`` for each index, the unknown 0 first; empty where the table has none."""
        ids = pl.concat([self.ids.head(0).extend_constant(None, 1), self.ids]).alias(ID)
        return ids.to_frame().join(table, on=ID, how="left", maintain_order="left")


ID, ROW = "\0id", "\0row"


def _join(
    event_ids: pl.Series,
    events_name: str,
    table: Table | None,
    id_name: str | None,
    role: str,
    plural: str,
    notes: list[str],
) -> _Side:
    """Bring the ids of the events and of a table together."""
    if table is None or id_name is None:
        ids = distinct(event_ids)
        return _Side(ids, positions(event_ids, ids), None, plural)
    frame = table.frame
    column = id_column(table, id_name, role)
    if column != id_name:
        notes.append(f"{table.name}: using {column!r} as {role}")
    table_ids = read_ids(frame[column], where=table.name)
    if (event_ids.dtype == pl.String) != (table_ids.dtype == pl.String):
        event_ids, table_ids = same_kind(event_ids, table_ids)
        kind = "text" if table_ids.dtype == pl.String else "numbers"
        notes.append(
            f"{table.name}: the {role}s are text here or in {events_name} and numbers in the other; both are read as {kind}"
        )
    in_events = distinct(event_ids)
    table_ids = table_ids.cast(in_events.dtype)
    rows = frame.drop(column).insert_column(0, table_ids.alias(ID))
    unique = rows.unique(ID, keep="first", maintain_order=True)
    if len(unique) < len(rows):
        notes.append(f"{table.name}: {len(rows) - len(unique):,} rows repeat the id of an earlier one and were dropped")
    without_events = int((~unique[ID].is_in(in_events.implode())).sum())
    if without_events:
        notes.append(f"{table.name}: {without_events:,} of {len(unique):,} {plural} have no event; they are kept")
    without_row = int((~in_events.is_in(unique[ID].implode())).sum())
    if without_row:
        notes.append(
            f"{events_name}: {without_row:,} of {len(in_events):,} {plural} are not in {table.name}; their features are unknown"
        )
    ids = distinct(pl.concat([in_events, unique[ID].alias(in_events.name)]))
    return _Side(ids, positions(event_ids, ids), unique, plural)


def drop_repeats(columns: EventColumns, rows: Ints, items: Ints, *, name: str, notes: list[str]) -> Bools | None:
    """Which events to keep where some repeat an earlier one, adding a note; None: all."""
    keep = without_repeats(columns, rows, items)
    if keep is None:
        return None
    count = int((~keep).sum())
    if not columns.has_times and "ratings" not in columns.values:
        notes.append(
            f"{name}: {count:,} rows repeat an earlier one; they are kept, as without times they may be events of their own"
        )
        return None
    notes.append(f"{name}: {count:,} rows repeat an earlier one and were dropped")
    return keep


def _core(
    users: _Side, items: _Side, keep: Bools | None, min_user_events: int, min_item_events: int, notes: list[str]
) -> Bools:
    chosen = np.ones(len(users.events), dtype=np.bool_) if keep is None else keep
    before = int(chosen.sum())
    remaining = chosen.copy()
    remaining[chosen] = core(
        users.events[chosen], items.events[chosen], min_row_events=min_user_events, min_item_events=min_item_events
    )
    wanted = f"{users.plural} with at least {min_user_events} events and items with at least {min_item_events}"
    if not remaining.any():
        raise DataError(
            f"None of {before:,} events is left by min_user_events and min_item_events ({wanted}). Lower them."
        )
    notes.append(f"kept {int(remaining.sum()):,} of {before:,} events: {wanted}")
    return remaining
