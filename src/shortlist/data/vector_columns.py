"""Columns of ready-made vectors to one table: lists or arrays of numbers, lists written as text, or .npy files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from shortlist.errors import DataError


def read_vectors(column: pl.Series, *, width: int | None = None) -> tuple[Tensor, Tensor]:
    """Vectors (N, V) float32 of N rows, and which rows have one (N,); the others are 0.

    All are of ``width`` numbers, or as wide as most. Another width, or a number that is not finite, is a
    :class:`DataError` that names the row.

    >>> read_vectors(pl.Series("v", [[1.0, 2.0], None]))[0].tolist()
    [[1.0, 2.0], [0.0, 0.0]]
    """
    kind = column.dtype
    if isinstance(kind, pl.Categorical | pl.Enum):
        column = column.cast(pl.String)
    if column.dtype == pl.String:
        column = _from_text(column)
    elif isinstance(kind, pl.Array) and not isinstance(kind.inner, pl.Array):
        column = column.arr.to_list()
    if column.dtype == pl.Null:
        column = column.cast(pl.List(pl.Float32))
    if not (isinstance(column.dtype, pl.List) and column.dtype.inner.is_numeric()):
        raise DataError(
            f"Feature {column.name!r} is a vector, and the column holds {kind}. Give lists or arrays of numbers, or paths of .npy "
            "files with one each."
        )
    there = column.is_not_null()
    rows, known = there.arg_true(), column.drop_nulls()
    widths = known.list.len()
    if width is None:
        width = int(widths.mode().max() or 0)  # type: ignore[arg-type]
        if not width:
            raise DataError(
                f"Feature {column.name!r} is a vector, and none of {len(column):,} rows has one. Leave it out."
            )
    wrong = widths != width
    if wrong.any():
        at = wrong.arg_true()[0]
        raise DataError(
            f"Feature {column.name!r}: the vector in row {rows[at] + 1} has {widths[at]} numbers, where {width} are due. "
            "All must be of one width; leave a row empty (null) where there is none."
        )
    numbers = known.explode().cast(pl.Float32).fill_null(float("nan")).to_numpy().reshape(len(known), width)
    finite = np.isfinite(numbers)
    if not finite.all():
        at, place = (int(index) for index in np.argwhere(~finite)[0])
        raise DataError(
            f"Feature {column.name!r}: the vector in row {rows[at] + 1} has {numbers[at, place]} as its number {place + 1}. Numbers "
            "must be finite; leave a row empty (null) where there is none."
        )
    table = torch.zeros(len(column), width)
    mask = torch.from_numpy(there.to_numpy(writable=True))
    table[mask] = torch.from_numpy(numbers.copy())
    return table, mask


def _from_text(column: pl.Series) -> pl.Series:
    """A list of numbers from each text: "[0.5, 1]", or the path of a .npy file."""
    lists: list[list[float] | None] = []
    for row, text in enumerate(column, start=1):
        stripped = "" if text is None else text.strip()
        if not stripped:
            lists.append(None)
            continue
        where = f"Feature {column.name!r}: the vector in row {row}"
        lists.append(_listed(stripped, where) if stripped.startswith("[") else _from_file(stripped, where).tolist())
    return pl.Series(column.name, lists, dtype=pl.List(pl.Float64))


def _listed(text: str, where: str) -> list[float]:
    try:
        numbers = json.loads(text)
    except ValueError as error:
        raise DataError(f"{where} is not a list of numbers such as [0.5, 1]: {error}.") from error
    if not all(isinstance(number, int | float) for number in numbers):
        raise DataError(
            f"{where} holds something that is no number ({text[:60]}). A list of numbers is such as [0.5, 1]."
        )
    return [float(number) for number in numbers]


def _from_file(path: str, where: str) -> npt.NDArray[Any]:
    if not path.endswith(".npy"):
        raise DataError(
            f"{where} is {path[:60]!r}. Give a list of numbers such as [0.5, 1], or the path of a .npy file."
        )
    try:
        vector: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{where} cannot be read from {path} (looked from {Path.cwd()}): {error}.") from error
    if vector.ndim != 1 or vector.dtype.kind not in "fiu":
        raise DataError(f"{where}: {path} holds {vector.dtype} of shape {vector.shape}, wanted numbers of shape (V,).")
    return vector
