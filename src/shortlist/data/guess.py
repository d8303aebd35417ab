"""Columns of a table to the features that they seem to be."""

from __future__ import annotations

import re

import polars as pl

from shortlist.data.levels import Levels
from shortlist.data.read import Table
from shortlist.schema import Feature, Owner

FEW_VALUES = 32  # whole numbers with more different values are numeric
HEAD = 1000  # rows to look at before all
MANY = 100_000  # rows that tell texts with separators, and how often values come again
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
    num = len(column) - column.null_count()
    if kind.is_float() or kind.is_decimal() or isinstance(kind, pl.Date | pl.Datetime):
        return "it has one value" if num == 0 or is_constant(column.drop_nulls()) else Feature(name, "numeric", owner)
    is_code = not kind.is_integer() or CODE_NAME.search(name) is not None
    if not is_code and column.head(HEAD).n_unique() > FEW_VALUES + 1:
        return Feature(name, "numeric", owner)
    is_text = kind == pl.String or isinstance(kind, pl.Categorical | pl.Enum)
    if not (kind.is_integer() or is_text or kind == pl.Boolean):
        return f"its type is {kind}"
    some = column.head(MANY)
    texts = Levels.of(some).texts
    if is_text and texts.str.contains("|", literal=True).any():
        parts = column.drop_nulls().cast(pl.String).str.split("|").explode(empty_as_null=False)
        is_spread = _is_spread(len(parts), parts.n_unique())
        return "nearly every value is another" if is_spread else Feature(name, "multi", owner, separator="|")
    if len(texts) <= FEW_VALUES or (is_code and _is_spread(len(some) - some.null_count(), len(texts))):
        texts = Levels.of(column).texts
    if len(texts) == 0 or is_constant(column):
        return "it has one value"
    if not is_code and len(texts) > FEW_VALUES:
        return Feature(name, "numeric", owner)
    is_spread = is_code and _is_spread(num, len(texts))
    return "nearly every row has another value" if is_spread else Feature(name, "categorical", owner)


def is_constant(column: pl.Series) -> bool:
    """Whether all rows say the same, perhaps nothing."""
    return column.head(HEAD).n_unique() <= 1 and column.n_unique() <= 1


def _is_spread(num: int, different: int) -> bool:
    return num >= SMALL_TABLE and different > num / 2
