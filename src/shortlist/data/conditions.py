"""A condition in SQL over the columns of a frame to which rows fulfil it."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

from shortlist.errors import ShortlistError, nearest

MOST_CHARACTERS = 2_000  # of a condition; the parser of one with thousands of terms overruns its stack


def parse_condition(
    rule: str, columns: Collection[str], *, name: str, where: str, error: type[ShortlistError], example: str
) -> pl.Expr:
    """The condition as an expression; ``name`` and ``where`` say in an ``error`` what it is and whose columns it may use."""
    if len(rule) > MOST_CHARACTERS:
        raise error(
            f"{name} has {len(rule):,} characters; at most {MOST_CHARACTERS:,} are read. Give lists of ids as lists."
        )
    try:
        expression = pl.sql_expr(rule)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as cause:
        raise error(f'{name} = "{rule}" is not a condition in SQL ({cause}). An example: "{example}".') from cause
    for column in expression.meta.root_names():
        if column not in columns:
            raise error(
                f'{name} = "{rule}" uses {column!r}, which {where} does not have.{nearest(column, columns)} '
                f"Columns found: {', '.join(columns)}."
            )
    return expression


def fulfilled(
    frame: pl.DataFrame, condition: pl.Expr, *, what: str, each: str, error: type[ShortlistError], example: str
) -> pl.Series:
    """Which rows of ``frame`` fulfil the condition; one that cannot be told of a row, as of a missing value, is not."""
    texts = pl.selectors.by_name(*set(condition.meta.root_names())) & pl.selectors.categorical()
    try:
        told = frame.with_columns(texts.cast(pl.String)).select(condition.alias("told")).to_series()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as cause:
        raise error(f"{what} cannot be computed: {str(cause).splitlines()[0]}.") from cause
    if told.dtype != pl.Boolean or len(told) != len(frame):
        raise error(f'{what} must say true or false of each {each}, as "{example}" does.')
    return told.fill_null(value=False)
