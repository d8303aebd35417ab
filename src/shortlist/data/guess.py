"""Columns of a table to the features that they seem to be."""

from __future__ import annotations

import re

import polars as pl

from shortlist.data.read import Table
from shortlist.schema import Feature, Owner

FEW_VALUES = 32  # whole numbers with more different values are numeric
SMALL_TABLE = 20  # in a table of fewer rows, all different values say nothing
CODE_NAME = re.compile(r"(_id|Id|ID|_code|Code|_type|Type|_no)$")


def table_features(table: Table, owner: Owner, *, skip: set[str | None]) -> tuple[list[Feature], list[str]]:
    """The features that a table's columns seem to be, but for those to ``skip``, and a note of those left out."""
    if table.features is not None:
        return list(table.features), []
    features: list[Feature] = []
    left_out: list[str] = []
    for column in table.frame.get_columns():
        if column.name in skip:
            continue
        guess = guess_feature(column, owner)
        if isinstance(guess, Feature):
            features.append(guess)
        else:
            left_out.append(f"{column.name} ({guess})")
    return features, [f"{table.name}: left out {', '.join(left_out)}"] if left_out else []


def guess_feature(column: pl.Series, owner: Owner) -> Feature | str:
    """The feature that a column seems to be, or why it is none.

    >>> guess_feature(pl.Series("genres", ["Comedy|War", "War"]), "item") == Feature("genres", "multi", "item", "|")
    True
    >>> guess_feature(pl.Series("sku", [f"a{i}" for i in range(100)]), "item")
    'nearly every row has another value'
    """
    kind, name = column.dtype, column.name
    if isinstance(kind, pl.List | pl.Array):
        if kind.inner.is_float():
            return "vectors are not read yet"
        return Feature(name, "multi", owner)
    if kind.is_float() or kind.is_decimal() or isinstance(kind, pl.Date | pl.Datetime):
        return Feature(name, "numeric", owner) if column.drop_nulls().n_unique() > 1 else "it has one value"
    values = column.drop_nulls()
    if kind == pl.String and values.str.contains("|", literal=True).any():
        parts = values.str.split("|").explode(empty_as_null=False)
        return (
            Feature(name, "multi", owner, separator="|") if not _is_spread(parts) else "nearly every value is another"
        )
    if not (kind.is_integer() or kind in (pl.String, pl.Boolean) or isinstance(kind, pl.Categorical | pl.Enum)):
        return f"its type is {kind}"
    num_values = values.n_unique()
    if num_values <= 1:
        return "it has one value"
    is_code = not kind.is_integer() or CODE_NAME.search(name) is not None
    if kind.is_integer() and num_values > FEW_VALUES and not is_code:
        return Feature(name, "numeric", owner)
    return (
        "nearly every row has another value" if is_code and _is_spread(values) else Feature(name, "categorical", owner)
    )


def _is_spread(values: pl.Series) -> bool:
    return len(values) >= SMALL_TABLE and values.n_unique() > len(values) / 2
