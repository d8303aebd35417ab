"""The items' raw columns, from memory or from a mapped Parquet file, and later rows of some items.

A column of a file is read when it is first asked for, and what was there is never copied.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from shortlist.errors import BundleError, DataError

MOST_CHUNKS = 64  # of the later rows: every operation goes through them one by one
TIDIED_FROM = 1024  # later rows, from which those that others have replaced are dropped

Places = npt.NDArray[np.int64]


class ItemTable:
    """A row for each item, from index 1. It never changes.

    >>> table = ItemTable(pl.DataFrame({"item_id": [7, 8], "price": [1.5, None]}))
    >>> table.columns, len(table), table.select(["price"])["price"].to_list()
    (['item_id', 'price'], 2, [1.5, None])
    >>> table.plus(np.array([2, 0]), pl.DataFrame({"item_id": [9, 7], "price": [3.0, 0.5]})).frame.rows()
    [(7, 0.5), (8, None), (9, 3.0)]
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        self._set(
            _First(frame.schema, len(frame), {column.name: column for column in frame}, None), frame.clear(), None
        )

    @classmethod
    def stored(cls, path: Path) -> ItemTable:
        """That of a file, which may be replaced or removed from now on, but not written to."""
        first = _First.stored(path)
        return cls._of(first, pl.DataFrame(schema=first.schema), None)

    @classmethod
    def _of(cls, first: _First, later: pl.DataFrame, place: npt.NDArray[np.int32] | None) -> ItemTable:
        table = cls.__new__(cls)
        table._set(first, later, place)
        return table

    def _set(self, first: _First, later: pl.DataFrame, place: npt.NDArray[np.int32] | None) -> None:
        """Rows of ``first`` and ``later``; ``place`` (N,) says where each lies in both, None: they come in their order."""
        self._first, self._later, self._place = first, later, place

    def __len__(self) -> int:
        return self._num_stored if self._place is None else len(self._place)

    @property
    def _num_stored(self) -> int:
        return self._first.num_rows + len(self._later)

    @property
    def schema(self) -> pl.Schema:
        """The kinds of the columns."""
        return self._first.schema

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return self.schema.names()

    @property
    def frame(self) -> pl.DataFrame:
        """All of it."""
        return self.select(self.columns)

    def select(self, columns: Sequence[str]) -> pl.DataFrame:
        """Some of its columns, which from now on are in memory as they were at first."""
        return self._whole(self._first.select(columns))

    def take(self, columns: Sequence[str], places: Places) -> pl.DataFrame:
        """Some of its columns of the rows at ``places`` (n,)."""
        rows = pl.concat([self._first.select(columns), self._later.select(columns)], rechunk=False)
        return rows[places if self._place is None else self._place[places]]

    def write(self, path: Path) -> None:
        """Write it as a Parquet file."""
        if self._first.file is not None and not len(self._later):
            path.write_bytes(self._first.file)
        else:
            self._whole(self._first.read(self.columns)).write_parquet(path)

    def plus(self, places: Places, rows: pl.DataFrame) -> ItemTable:
        """The same with ``rows`` (M) at ``places`` (M,), each named once: known ones, and all those up to the largest.

        Columns that the rows lack are empty in them, and further ones are left out.
        """
        told = self.told(rows)
        told = pl.concat([pl.DataFrame(schema=self.schema), told], how="diagonal")
        later = pl.concat([self._later, told], rechunk=False)
        if later.n_chunks() > MOST_CHUNKS:
            later = later.rechunk()
        known, behind = len(self), self._num_stored + np.arange(len(told))
        if self._place is None and np.array_equal(places, behind):
            return self._of(self._first, later, None)
        place = np.empty(max(known, int(places.max()) + 1), dtype=np.int32)
        place[:known] = np.arange(known) if self._place is None else self._place
        place[places] = behind
        return self._of(self._first, *_tidied(self._first.num_rows, later, place))

    def told(self, rows: pl.DataFrame) -> pl.DataFrame:
        """What ``rows`` have of the columns, in their kinds; a value that cannot be is missing, a column is a DataError."""
        shared = [(name, kind) for name, kind in self.schema.items() if name in rows.columns]
        try:
            return rows.select(pl.col(name).cast(kind, strict=False) for name, kind in shared)
        except pl.exceptions.PolarsError as error:
            raise DataError(
                f"The items have columns of other types than before: {str(error).splitlines()[0]}. Give them as they were."
            ) from error

    def _whole(self, first: pl.DataFrame) -> pl.DataFrame:
        """All rows, of which ``first`` are some columns of the first ones."""
        if not len(self._later):
            return first
        rows = [first, self._later.select(first.columns)]
        if self._place is None:
            return pl.concat(rows, rechunk=False)
        return pl.concat(rows, rechunk=True)[self._place]  # rows of one chunk are found three times as fast


@dataclass(frozen=True, slots=True)
class _First:
    """The first rows of tables that come from one another. The columns that were read are there for all of them."""

    schema: pl.Schema
    num_rows: int
    known: dict[str, pl.Series]  # that are in memory
    file: mmap.mmap | None  # with all columns

    @classmethod
    def stored(cls, path: Path) -> _First:
        with path.open("rb") as handle:
            file = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        rows = pl.scan_parquet(bytes(file))
        return cls(rows.collect_schema(), rows.select(pl.len()).collect().item(), {}, file)

    def select(self, columns: Sequence[str]) -> pl.DataFrame:
        """Some columns, which are in memory from now on."""
        frame = self.read(columns)
        self.known.update({column.name: column for column in frame})
        return frame

    def read(self, columns: Sequence[str]) -> pl.DataFrame:
        """Some columns."""
        wanted = [name for name in columns if name not in self.known]
        read = self.known
        if wanted and self.file is not None:
            try:
                frame = pl.read_parquet(bytes(self.file), columns=wanted)
            except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
                raise BundleError(
                    f"The bundle's table of items cannot be read ({str(error)[:200]}). Write the bundle anew."
                ) from error
            read = read | {column.name: column for column in frame}
        return pl.DataFrame([read[name] for name in columns])


def _tidied(
    num_first: int, later: pl.DataFrame, place: npt.NDArray[np.int32]
) -> tuple[pl.DataFrame, npt.NDArray[np.int32]]:
    """The same without later rows that others have replaced, where those are most of them."""
    if len(later) < TIDIED_FROM:
        return later, place
    used = np.flatnonzero(place >= num_first)
    if 2 * len(used) > len(later):
        return later, place
    left = later[place[used] - num_first]
    place[used] = num_first + np.arange(len(used))
    return left, place
