"""A data set and later tables to the same with their ids, features and events added; what is known keeps its index."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from shortlist.contracts import Features
from shortlist.data.attributes import askable
from shortlist.data.dataset import Dataset
from shortlist.data.encode import FeatureEncoder
from shortlist.data.events import read_events
from shortlist.data.ids import read_ids
from shortlist.data.infer import id_column
from shortlist.data.item_table import ItemTable
from shortlist.data.later import read_later, stacked
from shortlist.data.load import open_table
from shortlist.data.read import Table
from shortlist.errors import DataError
from shortlist.texts import Texts
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
    place = _places(len(dataset.encoders.items), len(vocabulary), indices)
    titles = dataset.encoders.titles
    if titles is not None and schema.title is not None:
        told = Texts.of(table.frame[schema.title].cast(pl.String).fill_null("").to_list())
        titles = _untitled(titles, len(vocabulary)).replaced(indices.numpy() - 1, told)
    added = len(vocabulary) - dataset.num_items
    note = f"{table.name}: {added:,} items added, {len(indices) - added:,} known ones changed"
    grown = replace(
        dataset,
        encoders=replace(dataset.encoders, items=vocabulary, titles=titles),
        notes=(*dataset.notes, note),
        events=replace(dataset.events, num_items=len(vocabulary)),
        item_features=_features(dataset.item_features, dataset.encoders.item_features, table.frame, place),
        item_table=_askable(dataset.item_table, table.frame, schema.item_column, place),
    )
    return grown, indices


def with_users(dataset: Dataset, users: Any, *, format: str | None = None) -> Dataset:
    """``dataset`` with the users of a table: new ones are added, known ones get the features it states."""
    schema = dataset.schema
    if schema.user_id is None or schema.sequence != "user":
        raise DataError("The data set's rows are sessions, which have no table of users. Leave it out.")
    table, ids = _read(users, "users", schema.user_id, "user_id", format)
    vocabulary, indices = _extended(dataset.encoders.users, ids, table.name)
    place = _places(len(dataset.encoders.users), len(vocabulary), indices)
    features = _features(dataset.user_features, dataset.encoders.user_features, table.frame, place)
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
    row_ids, item_ids, _ = read_events(table, replace(dataset.schema, features=(), title=None))
    item_vocabulary, _ = _extended(dataset.encoders.items, item_ids.unique(maintain_order=True), table.name)
    row_vocabulary, _ = _extended(dataset.encoders.users, row_ids.unique(maintain_order=True), table.name)
    return read_later(events, _with_rows(_with_ids(dataset, item_vocabulary), row_vocabulary), format=format)


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


def _places(known: int, total: int, indices: Tensor) -> Tensor:
    """Where each index (total+1,) finds its row in known rows (known+1), those of a table (n) and one of nothing known."""
    place = torch.full((total + 1,), known + 1 + len(indices))
    place[: known + 1] = torch.arange(known + 1)
    place[indices] = known + 1 + torch.arange(len(indices))
    return place


def _features(
    features: Features | None, encoder: FeatureEncoder | None, frame: pl.DataFrame | None, place: Tensor
) -> Features | None:
    if features is None or encoder is None:
        return features
    if frame is not None:
        features = stacked(features, encoder.encode(frame))
    return stacked(features, Features.unknown(features.layout, 1)).take(place)


def _askable(table: ItemTable | None, frame: pl.DataFrame, id_name: str, place: Tensor) -> ItemTable | None:
    """The raw columns of all items: those that were there, of the new rows what the table has of them."""
    if table is None:
        return None
    known = table.frame
    told = raw_columns(table, frame.drop(id_name).insert_column(0, frame[id_name]))
    rows = pl.concat([known, told, known.clear(1)], how="diagonal")
    return ItemTable(rows[(place[1:] - 1).numpy()])


def raw_columns(table: ItemTable, frame: pl.DataFrame) -> pl.DataFrame:
    """What the rows of ``frame`` have of the columns of ``table``, in its types; a value that cannot be is missing."""
    told = askable(frame)
    told = told.select([name for name in table.columns if name in told.columns])
    try:
        return told.cast({name: table.schema[name] for name in told.columns}, strict=False)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"The items have columns of other types than before: {str(error).splitlines()[0]}. Give them as they were."
        ) from error


def _with_ids(dataset: Dataset, vocabulary: Vocabulary) -> Dataset:
    """The same with further items of which nothing is known but their ids."""
    if len(vocabulary) == dataset.num_items:
        return dataset
    place = _places(dataset.num_items, len(vocabulary), torch.zeros(0, dtype=torch.int64))
    titles, table = dataset.encoders.titles, dataset.item_table
    if table is not None:
        added = vocabulary.decode(np.arange(dataset.num_items, len(vocabulary)) + 1)
        ids = pl.Series(dataset.schema.item_column, added.tolist())
        known = table.schema[dataset.schema.item_column]
        table = ItemTable(pl.concat([table.frame, ids.cast(known, strict=False).to_frame()], how="diagonal"))
    return replace(
        dataset,
        encoders=replace(
            dataset.encoders, items=vocabulary, titles=None if titles is None else _untitled(titles, len(vocabulary))
        ),
        events=replace(dataset.events, num_items=len(vocabulary)),
        item_features=_features(dataset.item_features, dataset.encoders.item_features, None, place),
        item_table=table,
    )


def _untitled(titles: Texts, count: int) -> Texts:
    """The titles, and empty ones up to ``count``."""
    return titles.plus(Texts.of([""] * (count - len(titles))))


def _with_rows(dataset: Dataset, vocabulary: Vocabulary) -> Dataset:
    """The same with further users, or sessions, that have no events yet."""
    count = len(vocabulary) - dataset.num_users
    if not count:
        return dataset
    events = dataset.events
    place = _places(dataset.num_users, len(vocabulary), torch.zeros(0, dtype=torch.int64))
    unknown = dataset.unknown_targets
    return replace(
        dataset,
        encoders=replace(dataset.encoders, users=vocabulary),
        events=replace(events, offsets=torch.cat((events.offsets, events.offsets[-1:].expand(count)))),
        target_start=torch.cat((dataset.target_start, events.offsets[-1:].expand(count))),
        user_features=_features(dataset.user_features, dataset.encoders.user_features, None, place),
        unknown_targets=None if unknown is None else torch.cat((unknown, unknown.new_zeros(count))),
    )
