"""The raw columns of the items table to what recommendations can be filtered and capped by: masks and values by item index."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial

import polars as pl
import torch
from torch import Tensor

from shortlist.contracts import AnyFeatures, FeatureLayout, Features, Ragged
from shortlist.data.columns import Columns
from shortlist.data.conditions import fulfilled, parse_condition
from shortlist.data.dataset import Dataset
from shortlist.data.item_table import ItemTable
from shortlist.data.plain_sql import FUNCTIONS, harm
from shortlist.errors import RequestError, nearest
from shortlist.features import running_total
from shortlist.layered import with_rows
from shortlist.schema import Feature

MOST_KEPT = 64  # conditions whose items are remembered
EXAMPLE = "category = 'x' and price < 20"


def askable(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns that a condition or a cap may name: no vectors, images or records; categories as text."""
    kept = [name for name, kind in frame.schema.items() if _is_askable(kind)]
    return frame.select(kept).with_columns(
        pl.selectors.categorical().cast(pl.String), pl.selectors.enum().cast(pl.String)
    )


def allowed_items(dataset: Dataset, where: str) -> Tensor:
    """Which items (I+1,) fulfil a condition in SQL over the items table's columns; a missing value fulfils none.

    Anything but a condition over these columns is a :class:`RequestError`.
    """
    table = _table(dataset, "where")
    condition = parse_condition(
        where, table.columns, name="where", where="the items table", error=RequestError, example=EXAMPLE
    )
    if (found := harm(where)) is not None:
        raise RequestError(
            f'where = "{where}" uses {found}. What there is: comparisons, and, or, not, in, between, like, is null, case, '
            f"arithmetic, and the functions {', '.join(sorted(FUNCTIONS))}."
        )
    used = table.select(list(dict.fromkeys(condition.meta.root_names())) or table.columns[:1])
    told = fulfilled(used, condition, what=f'where = "{where}"', each="item", error=RequestError, example=EXAMPLE)
    return torch.cat((torch.zeros(1, dtype=torch.bool), torch.from_numpy(told.to_numpy(writable=True))))


class ItemValues:
    """The values of each item in a column of the items table, as numbers from 1: equal ones have one, a missing one has none.

    Lists have several, and so has text that the schema splits.
    """

    def __init__(self, feature: Feature, numbers: Mapping[str, int], rows: AnyFeatures) -> None:
        """The ``numbers`` of texts, and ``rows`` with them as their one field, for each item and 0."""
        self._feature, self._numbers, self._rows = feature, numbers, rows

    @classmethod
    def of(cls, dataset: Dataset, column: str) -> ItemValues:
        """Those of a column. An unknown one is a :class:`RequestError`."""
        table = _table(dataset, "caps")
        if column not in table.columns:
            raise RequestError(
                f"caps names {column!r}, which the items table does not have.{nearest(column, table.columns)} "
                f"Columns found: {', '.join(table.columns)}."
            )
        stated = {feature.name: feature for feature in dataset.schema.of("item")}
        is_list = isinstance(table.schema[column], pl.List)
        feature = stated.get(column, Feature(column, "multi" if is_list else "categorical", "item"))
        numbers, field = _numbered(table.select([column]), feature, {})
        offsets = torch.cat((field.offsets.new_zeros(1), field.offsets))  # nothing has no value
        return cls(feature, numbers, Features(FeatureLayout(multi=(1,)), multi=(Ragged(field.values, offsets),)))

    def take(self, items: Tensor) -> Ragged:
        """The numbers of the values of items (N,)."""
        return self._rows.take(items).multi[0]

    def with_items(self, dataset: Dataset, items: Tensor) -> ItemValues:
        """Those of a data set in which ``items`` (n,) are new or have changed."""
        table = _table(dataset, "caps")
        numbers, field = _numbered(table.take([self._feature.name], items.numpy() - 1), self._feature, self._numbers)
        return ItemValues(
            self._feature, numbers, with_rows(self._rows, items, Features(self._rows.layout, multi=(field,)))
        )


class ItemColumns:
    """The columns of the items table as what requests ask of them, which comes again and again and is remembered."""

    def __init__(self, dataset: Dataset, values: Mapping[str, ItemValues] | None = None) -> None:
        """Of the items of ``dataset``; some columns' ``values`` may be known."""
        self._dataset, self._values = dataset, {} if values is None else dict(values)
        self.allowed = lru_cache(MOST_KEPT)(partial(allowed_items, dataset))

    def values(self, column: str) -> ItemValues:
        """The values of the items in a column."""
        known = self._values.get(column)
        if known is None:
            known = self._values[column] = ItemValues.of(self._dataset, column)
        return known

    def with_items(self, dataset: Dataset, items: Tensor) -> ItemColumns:
        """Those of a data set in which ``items`` (n,) are new or have changed."""
        known = dict(self._values)
        if len(items):
            known = {column: values.with_items(dataset, items) for column, values in known.items()}
        return ItemColumns(dataset, known)


def _numbered(frame: pl.DataFrame, feature: Feature, known: Mapping[str, int]) -> tuple[Mapping[str, int], Ragged]:
    """The numbers of texts, with those that a column adds, and the numbers of each of its rows."""
    columns = Columns(frame)
    if feature.kind == "multi" or isinstance(frame.schema[feature.name], pl.List):
        levels, offsets = columns.lists(feature)
    else:
        levels, offsets = columns.levels(feature), torch.arange(len(frame) + 1)
    texts = levels.texts.to_list()
    added = [text for text in texts if text not in known]
    numbers = {**known, **{text: number for number, text in enumerate(added, len(known) + 1)}} if added else known
    of_texts = torch.tensor([numbers[text] for text in texts], dtype=torch.int64)
    values = levels.spread(of_texts)[:]  # (M,) 0 where there is none
    lengths = torch.zeros(len(frame), dtype=torch.int64).index_add_(
        0, torch.repeat_interleave(torch.arange(len(frame)), offsets.diff()), (values > 0).long()
    )
    return numbers, Ragged(values[values > 0], running_total(lengths))


def _table(dataset: Dataset, argument: str) -> ItemTable:
    if dataset.item_table is None:
        raise RequestError(
            f"{argument} asks for columns of the items, and the data set was read without an items table. Give one when "
            "reading: sl.read_dataset(events, items=…), or shortlist train EVENTS --items FILE."
        )
    return dataset.item_table


def _is_askable(kind: pl.DataType) -> bool:
    if isinstance(kind, pl.List):
        inner = kind.inner
        return isinstance(inner, pl.DataType) and not inner.is_nested() and not inner.is_float() and _is_askable(inner)
    return not kind.is_nested() and kind not in (pl.Binary, pl.Object, pl.Null)
