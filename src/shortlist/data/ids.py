"""An id column to ids that are all integers or all strings, and those to dense indices."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from shortlist.errors import DataError

LARGEST_ID = 2**63 - 1
BLOCK = 1 << 16  # ids looked up at a time: temporaries stay small


def read_ids(column: pl.Series, *, where: str) -> pl.Series:
    """Ids as Int32, Int64 or String. Missing ids, fractions and other kinds of values are a :class:`DataError`.

    >>> read_ids(pl.Series("user", [3.0, 4.0]), where="events").to_list()
    [3, 4]
    """
    ids, kind = column, column.dtype
    if isinstance(kind, pl.Categorical | pl.Enum):
        ids = column.cast(pl.String)
    if kind.is_float():
        ids = column.fill_nan(None)
    elif ids.dtype == pl.String:
        ids = ids.set(ids == "", None)
    if missing := ids.null_count():
        row = ids.is_null().arg_max()
        assert row is not None
        raise DataError(
            f"{where}: {missing} of {len(ids)} rows have no {column.name!r}; the first is row {row + 1}. "
            f"Drop them first, e.g. with polars: frame.filter(pl.col({column.name!r}).is_not_null())."
        )
    if kind.is_float():
        fraction = ids != ids.floor()
        if fraction.any() or ids.is_infinite().any():
            raise DataError(
                f"{where}: {column.name!r} holds fractions such as {ids.filter(fraction)[:1].to_list()}. Ids are whole numbers or text."
            )
        return ids.cast(pl.Int64)
    if ids.dtype.is_integer():
        if ids.dtype in (pl.Int32, pl.Int64):
            return ids
        largest: Any = ids.max()
        return ids.cast(pl.Int64 if largest is None or largest <= LARGEST_ID else pl.String)
    if ids.dtype != pl.String:
        found = "values of several types" if kind == pl.Object else str(kind)
        raise DataError(
            f"{where}: {column.name!r} holds {found}. Ids are whole numbers or text; cast the column to one of them."
        )
    return ids


def same_kind(ids: pl.Series, table_ids: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Both as integers if both can be, else both as text: "7" in one file and 7 in the other are the same id."""
    if ids.dtype != pl.String and table_ids.dtype != pl.String:
        return ids, table_ids
    one, other = (as_numbers(column) if column.dtype == pl.String else column for column in (ids, table_ids))
    return (ids.cast(pl.String), table_ids.cast(pl.String)) if one is None or other is None else (one, other)


def as_numbers(texts: pl.Series) -> pl.Series | None:
    """Texts as whole numbers, if each of them is one as numbers are written; None where one is not: "007" is not 7."""
    numbers = texts.cast(pl.Int64, strict=False)
    return None if numbers.null_count() or (numbers.cast(pl.String) != texts).any() else numbers


def distinct(ids: pl.Series) -> pl.Series:
    """The different ids, sorted: integers by size, text by its characters."""
    unique = ids.unique().sort()
    return unique.cast(pl.Int64) if unique.dtype.is_integer() else unique


def positions(ids: pl.Series, known: pl.Series) -> npt.NDArray[np.int32]:
    """For each of ``ids`` its place in the sorted ``known``, counted from 1; 0 where it is not there.

    >>> positions(pl.Series([5, 9, 7]), pl.Series([5, 7])).tolist()
    [1, 0, 2]
    """
    if not len(known):
        return np.zeros(len(ids), dtype=np.int32)
    if ids.dtype == pl.String:
        places = pl.int_range(1, len(known) + 1, dtype=pl.Int32, eager=True)
        return ids.replace_strict(known, places, default=0, return_dtype=pl.Int32).to_numpy(writable=True)
    sought, found = known.to_numpy(), np.empty(len(ids), dtype=np.int32)
    first, spread = int(sought[0]), int(sought[-1]) - int(sought[0]) + 1
    table = np.zeros(spread if spread <= len(ids) else 0, dtype=np.int32)
    if len(table):
        table[sought - first] = np.arange(1, len(sought) + 1)
    for start in range(0, len(ids), BLOCK):
        block = ids.slice(start, BLOCK).cast(pl.Int64).to_numpy()
        if len(table):
            inside = (block >= first) & (block < first + spread)
            place = table[np.where(inside, block - first, 0)]
            found[start : start + BLOCK] = np.where(inside, place, 0)
        else:
            place = np.minimum(np.searchsorted(sought, block), len(sought) - 1)
            found[start : start + BLOCK] = np.where(sought[place] == block, place + 1, 0)
    return found
