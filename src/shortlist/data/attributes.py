"""The raw columns of the items table to what recommendations can be filtered and capped by: masks and values by item index."""

from __future__ import annotations

import polars as pl
import torch
from torch import Tensor

from shortlist.contracts import Ragged
from shortlist.data.columns import Columns
from shortlist.data.conditions import fulfilled, parse_condition
from shortlist.data.dataset import Dataset
from shortlist.data.item_table import ItemTable
from shortlist.data.plain_sql import FUNCTIONS, harm
from shortlist.errors import RequestError, nearest
from shortlist.features import running_total
from shortlist.schema import Feature

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


def item_values(dataset: Dataset, column: str) -> Ragged:
    """The values of each item (I+1 rows) in a column of the items table, as numbers from 1; a missing one is no value.

    Lists have several, and so has text that the schema splits. An unknown column is a :class:`RequestError`.
    """
    table = _table(dataset, "caps")
    if column not in table.columns:
        raise RequestError(
            f"caps names {column!r}, which the items table does not have.{nearest(column, table.columns)} "
            f"Columns found: {', '.join(table.columns)}."
        )
    stated = {feature.name: feature for feature in dataset.schema.of("item")}
    is_list = isinstance(table.schema[column], pl.List)
    feature = stated.get(column, Feature(column, "multi" if is_list else "categorical", "item"))
    columns = Columns(table.select([column]))
    if is_list or feature.kind == "multi":
        levels, offsets = columns.lists(feature)
    else:
        levels, offsets = columns.levels(feature), torch.arange(len(table) + 1)
    values = levels.spread(torch.arange(1, len(levels.texts) + 1))  # (M,) 0 where there is none
    lengths = torch.zeros(len(table), dtype=torch.int64).index_add_(
        0, torch.repeat_interleave(torch.arange(len(table)), offsets.diff()), (values > 0).long()
    )
    return Ragged(values[values > 0], torch.cat((torch.zeros(1, dtype=torch.int64), running_total(lengths))))


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
