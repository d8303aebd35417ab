"""A data set and later tables to the same with their ids, features and events added; what is known keeps its index."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import polars as pl
import torch
from torch import Tensor

from shortlist.contracts import Features
from shortlist.data.attributes import askable
from shortlist.data.dataset import Dataset
from shortlist.data.events import read_events
from shortlist.data.ids import read_ids
from shortlist.data.infer import check_schema, id_column
from shortlist.data.later import read_later
from shortlist.data.load import open_table
from shortlist.data.read import Table
from shortlist.errors import DataError
from shortlist.features import stacked
from shortlist.layered import with_rows
from shortlist.vocabulary import Vocabulary


def with_items(dataset: Dataset, items: Any, *, format: str | None = None) -> tuple[Dataset, Tensor]:
    """``dataset`` with the items of a table: new ones are added, known ones get the features and titles it states.

    Also the indices (n,) of the table's items, in its order. The table needs the columns that the items had; of rows
    with one id the last counts. A missing column is a :class:`DataError`.
    """
    schema = dataset.schema
    table, ids = _read(items, "items", schema.item_column, "item_id", format)
    vocabulary, indices = _extended(dataset.encoders.items, ids, table.name)
    stated = [feature.name for feature in schema.of("item")] + ([] if schema.title is None else [schema.title])
    missing = [name for name in stated if name not in table.frame.columns]
    if missing:
        raise DataError(
            f"{table.name} lacks columns that the items had: {', '.join(missing)}. Columns found: "
            f"{', '.join(table.frame.columns)}. Without them known items would lose what is known of them: add them."
        )
    added = len(vocabulary) - dataset.num_items
    words = (f"{table.name}: ", " items added, ", " known ones changed")
    notes = noted(dataset.notes, words, (added, len(indices) - added))
    return replace(_with_later(dataset, vocabulary, indices, table.frame), notes=notes), indices


def with_users(dataset: Dataset, users: Any, *, format: str | None = None) -> Dataset:
    """``dataset`` with the users of a table: new ones are added, known ones get the features it states."""
    schema = dataset.schema
    if schema.user_id is None or schema.sequence != "user":
        raise DataError("The data set's rows are sessions, which have no table of users. Leave it out.")
    table, ids = _read(users, "users", schema.user_id, "user_id", format)
    vocabulary, indices = _extended(dataset.encoders.users, ids, table.name)
    features, encoder = dataset.user_features, dataset.encoders.user_features
    if features is not None and encoder is not None:
        known = len(dataset.encoders.users) + 1
        place = torch.arange(len(vocabulary) + 1)
        place[indices] = known + torch.arange(len(indices))
        features = stacked(features, encoder.encode(table.frame)).take(place)
    return replace(_with_rows(dataset, vocabulary), user_features=features)


def with_events(
    dataset: Dataset, events: Any, *, items: Any = None, users: Any = None, format: str | None = None
) -> Dataset:
    """``dataset`` with later events, and with the users and items that are new in them or in their tables.

    The events it had are the known history, the new ones the part's own: what further training learns from. See
    :func:`~shortlist.data.later.read_later` for what is left out.
    """
    if items is not None:
        dataset, _ = with_items(dataset, items, format=format)
    if users is not None:
        dataset = with_users(dataset, users, format=format)
    table = open_table(events, "events", format)
    dataset = _without_missing(dataset, table)
    schema = replace(dataset.schema, features=(), title=None)
    check_schema(schema, table, items=None, users=None)
    row_ids, item_ids, _ = read_events(table, schema)
    item_vocabulary, _ = _extended(dataset.encoders.items, item_ids.unique(maintain_order=True), table.name)
    row_vocabulary, _ = _extended(dataset.encoders.users, row_ids.unique(maintain_order=True), table.name)
    count = len(item_vocabulary) - dataset.num_items
    if count:
        indices = torch.arange(dataset.num_items + 1, len(item_vocabulary) + 1)
        dataset = _with_later(dataset, item_vocabulary, indices, None)
    if dataset.item_features is not None:  # in one piece, as it is read again and again
        dataset = replace(dataset, item_features=dataset.item_features.whole())
    return read_later(events, _with_rows(dataset, row_vocabulary), format=format)


def _without_missing(dataset: Dataset, table: Table) -> Dataset:
    """``dataset`` without ratings, weights and types of events where the later ones have none: a model that needs them will say so."""
    schema, events, notes = dataset.schema, dataset.events, list(dataset.notes)

    def kept(column: str | None) -> str | None:
        if column is None or column in table.columns:
            return column
        notes.append(f"{table.name} has no {column!r}, so it is left out of all events")
        return None

    schema = replace(schema, rating=kept(schema.rating), weight=kept(schema.weight), event_type=kept(schema.event_type))
    events = replace(
        events,
        ratings=None if schema.rating is None else events.ratings,
        weights=None if schema.weight is None else events.weights,
    )
    return replace(dataset, schema=schema, events=events, notes=tuple(notes))


def as_grown(part: Dataset, grown: Dataset) -> Dataset:
    """A part of the data set that ``grown`` comes from, with all that it has more: the events stay as they are."""
    part = _with_rows(replace(part, encoders=replace(part.encoders, items=grown.encoders.items)), grown.encoders.users)
    return replace(
        part,
        encoders=grown.encoders,
        events=replace(part.events, num_items=grown.num_items),
        user_features=grown.user_features,
        item_features=grown.item_features,
        item_table=grown.item_table,
    )


def noted(notes: tuple[str, ...], words: tuple[str, ...], counts: tuple[int, ...]) -> tuple[str, ...]:
    """``notes`` with one more: ``words`` with ``counts`` between them, and those of an earlier note of the same words added.

    >>> noted(("1,200 items withdrawn", "a guess"), ("", " items withdrawn"), (3,))
    ('a guess', '1,203 items withdrawn')
    """
    pattern = re.compile(r"([\d,]+)".join(map(re.escape, words)))
    earlier = [found for note in notes if (found := pattern.fullmatch(note)) is not None]
    told = [sum(int(each[place].replace(",", "")) for each in earlier) + count for place, count in enumerate(counts, 1)]
    note = "".join(part for pair in zip(words, [*(f"{count:,}" for count in told), ""], strict=False) for part in pair)
    return (*(note for note in notes if pattern.fullmatch(note) is None), note)


def _read(source: Any, role: Any, id_name: str, id_role: str, format: str | None) -> tuple[Table, pl.Series]:
    """A table with an id once, and its ids."""
    table = open_table(source, role, format).loaded()
    column = id_column(table, id_name, id_role)
    frame = table.frame.unique(column, keep="last", maintain_order=True)
    if not len(frame):
        raise DataError(f"{table.name} has no rows. Give at least one.")
    table = replace(table, rows=frame.rename({column: id_name}).lazy())
    return table, read_ids(frame[column], where=table.name)


def _extended(vocabulary: Vocabulary, ids: pl.Series, where: str) -> tuple[Vocabulary, Tensor]:
    """The vocabulary with all of ``ids`` (n,), and their indices (n,)."""
    if vocabulary.is_integer and ids.dtype == pl.String:
        numbers = ids.cast(pl.Int64, strict=False)
        if numbers.null_count():
            raise DataError(
                f"{where}: the id {ids.filter(numbers.is_null())[0]!r} is text, and the ids known so far are whole numbers."
            )
        ids = numbers
    values = (ids if vocabulary.is_integer else ids.cast(pl.String)).to_list()
    larger = vocabulary.extend(values)
    return larger, torch.from_numpy(larger.encode(values)).long()


def _with_later(dataset: Dataset, vocabulary: Vocabulary, indices: Tensor, frame: pl.DataFrame | None) -> Dataset:
    """The same with what the rows of ``frame`` say of the items ``indices`` (n,), or with no more than their ids.

    All that is known of the other items is shared.
    """
    encoders, schema, places = dataset.encoders, dataset.schema, indices.numpy() - 1
    features, titles, table = dataset.item_features, encoders.titles, dataset.item_table
    if features is not None and encoders.item_features is not None:
        rows = Features.unknown(features.layout, len(indices))
        if frame is not None:
            rows = encoders.item_features.encode(frame)
        features = with_rows(features, indices, rows)
    if titles is not None and schema.title is not None:
        told = [""] * len(indices)
        if frame is not None:
            told = frame[schema.title].cast(pl.String).fill_null("").to_list()
        titles = titles.plus(zip(places.tolist(), told, strict=True), count=len(vocabulary))
    if table is not None:
        if frame is None:
            frame = pl.DataFrame({schema.item_column: vocabulary.decode(indices.numpy()).tolist()})
        table = table.plus(places, askable(frame))
    return replace(
        dataset,
        encoders=replace(encoders, items=vocabulary, titles=titles),
        events=replace(dataset.events, num_items=len(vocabulary)),
        item_features=features,
        item_table=table,
    )


def _with_rows(dataset: Dataset, vocabulary: Vocabulary) -> Dataset:
    """The same with further users, or sessions, that have no events yet."""
    count = len(vocabulary) - dataset.num_users
    if not count:
        return dataset
    events = dataset.events
    features, unknown = dataset.user_features, dataset.unknown_targets
    if features is not None:
        features = stacked(features, Features.unknown(features.layout, count))
    return replace(
        dataset,
        encoders=replace(dataset.encoders, users=vocabulary),
        events=replace(events, offsets=torch.cat((events.offsets, events.offsets[-1:].expand(count)))),
        target_start=torch.cat((dataset.target_start, events.offsets[-1:].expand(count))),
        user_features=features,
        unknown_targets=None if unknown is None else torch.cat((unknown, unknown.new_zeros(count))),
    )
