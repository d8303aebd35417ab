"""The items' raw columns, from memory or from a Parquet file of which each column is read when it is first asked for."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path

import polars as pl


class ItemTable:
    """A row for each item, from index 1. It never changes.

    >>> table = ItemTable(pl.DataFrame({"item_id": [7, 8], "price": [1.5, None]}))
    >>> table.columns, len(table), table.select(["price"])["price"].to_list()
    (['item_id', 'price'], 2, [1.5, None])
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        self.schema, self._rows = frame.schema, len(frame)
        self._read = {column.name: column for column in frame}
        self._stored: mmap.mmap | None = None

    @classmethod
    def stored(cls, path: Path) -> ItemTable:
        """That of a file, which may be replaced or removed from now on, but not written to."""
        table = cls.__new__(cls)
        with path.open("rb") as file:
            table._stored = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        rows = pl.scan_parquet(bytes(table._stored))
        table.schema, table._rows = rows.collect_schema(), rows.select(pl.len()).collect().item()
        table._read = {}
        return table

    def __len__(self) -> int:
        return self._rows

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return self.schema.names()

    @property
    def frame(self) -> pl.DataFrame:
        """All of it."""
        return self.select(self.columns)

    def select(self, columns: Sequence[str]) -> pl.DataFrame:
        """Some of its columns, which from now on are in memory."""
        wanted = [name for name in columns if name not in self._read]
        if wanted and self._stored is not None:
            read = pl.read_parquet(bytes(self._stored), columns=wanted)
            self._read |= {column.name: column for column in read}
        return pl.DataFrame([self._read[name] for name in columns])

    def write(self, path: Path) -> None:
        """Write it as a Parquet file."""
        if self._stored is None:
            self.frame.write_parquet(path)
        else:
            path.write_bytes(self._stored)
