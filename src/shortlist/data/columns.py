"""Columns of a frame as features read them: the different values of each, lists, or numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from shortlist.data.levels import Levels
from shortlist.errors import DataError
from shortlist.features import running_total
from shortlist.schema import Feature

MANY_ROWS = 100_000  # from which columns are worked on side by side

T = TypeVar("T")
S = TypeVar("S")


class Columns:
    """The columns of a frame of N rows. Categories are read once, however often they are asked for.

    A column that the frame does not have is missing in every row.
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self._levels: dict[str, Levels] = {}
        self._lists: dict[str, tuple[Levels, Tensor]] = {}
        # The place of each value, by feature, where a feature was fitted on just this frame.
        self.places: dict[str, npt.NDArray[np.int32]] = {}

    def levels(self, feature: Feature) -> Levels:
        """The values of a feature that has one a row."""
        if feature.name not in self._levels:
            self._levels[feature.name] = Levels.of(self._column(feature, pl.String()))
        return self._levels[feature.name]

    def lists(self, feature: Feature) -> tuple[Levels, Tensor]:
        """The values of all rows of a multi-hot feature, each once a row, and where each row begins among them (N+1,)."""
        if feature.name not in self._lists:
            lists = _lists(self._column(feature, pl.List(pl.String)), feature.separator)
            lengths = torch.from_numpy(lists.list.len().fill_null(0).cast(pl.Int64).to_numpy(writable=True))
            values = Levels.of(lists.explode(empty_as_null=False, keep_nulls=False))
            self._lists[feature.name] = values, running_total(lengths)
        return self._lists[feature.name]

    def numbers(self, feature: Feature, *, finite: bool = False) -> pl.Series:
        """Numbers, missing ones null; what is none is a :class:`DataError`, or with ``finite`` missing, as NaN is then."""
        column = self._column(feature, pl.Float64())
        if isinstance(column.dtype, pl.Date | pl.Datetime):
            column = column.cast(pl.Datetime("us")).dt.epoch("s") / 86_400  # days
        if column.dtype.is_nested():
            raise DataError(f'Feature {column.name!r} holds {column.dtype}. Make its kind "multi", or leave it out.')
        if column.dtype == pl.String or isinstance(column.dtype, pl.Categorical | pl.Enum):
            text = column.cast(pl.String)
            numbers = text.cast(pl.Float64, strict=False)
            wrong = numbers.is_null() & text.is_not_null() & (text != "")
            if not finite and wrong.any():
                row = wrong.arg_max()
                assert row is not None
                raise DataError(
                    f"Feature {feature.name!r} is numeric, and row {row + 1} has {column[row]!r}. Mend the value, or make the "
                    "feature categorical."
                )
        else:
            numbers = column.cast(pl.Float64, strict=False)
        if finite and not column.dtype.is_integer():
            return numbers.set(~numbers.is_finite().fill_null(value=True), None)
        return numbers

    def values(self, feature: Feature) -> pl.Series:
        """The column as it is."""
        return self._column(feature, pl.Null())

    def each(self, work: Callable[[S], T], things: Iterable[S]) -> list[T]:
        """What ``work`` makes of each of some things, in their order; of a frame of many rows on all processors."""
        if len(self.frame) < MANY_ROWS:
            return [work(thing) for thing in things]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(work, things))

    def _column(self, feature: Feature, kind: pl.DataType) -> pl.Series:
        if feature.name in self.frame.columns:
            return self.frame[feature.name]
        return pl.Series(feature.name, [None], dtype=kind).new_from_index(0, len(self.frame))


def _lists(column: pl.Series, separator: str | None) -> pl.Series:
    """The values of each row, as text, each once."""
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if not isinstance(column.dtype, pl.List):
        text = (column.fill_nan(None) if column.dtype.is_float() else column).cast(pl.String)
        column = text.reshape((-1, 1)).arr.to_list() if separator is None else text.str.split(separator)
    element = pl.element().cast(pl.String).str.strip_chars().str.strip_suffix(".0")  # 3.0 and 3 are the same value
    return column.list.eval(element.filter(element.is_not_null() & (element != ""))).list.unique(maintain_order=True)
