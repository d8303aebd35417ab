"""A file, folder or frame to a :class:`Table`: its rows with what was noticed while reading.

It does not know what the columns mean; ``infer`` does.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from shortlist.data.text import Read, Types, scan_text
from shortlist.errors import DataError, nearest
from shortlist.schema import Feature

TEXT_BYTES = 16  # of a text in a column, without those of its characters that have no room in them
MOST_TEXT_BYTES = 2 << 30

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows that may still lie in a file, and what their format says of them.

    ``order`` is a column that sorts each sequence's rows, ``features`` the meaning of the columns where the format
    fixes it, ``folder`` where its file lies, from which paths in it are meant. ``read`` reads columns of a text file in less memory, and with other types.
    """

    name: str
    rows: pl.LazyFrame
    notes: tuple[str, ...] = ()
    order: str | None = None
    features: tuple[Feature, ...] | None = None
    read: Read | None = None
    folder: Path | None = None

    @property
    def columns(self) -> Mapping[str, pl.DataType]:
        """The columns and their types."""
        return _guarded(self.name, self.rows.collect_schema)

    @property
    def frame(self) -> pl.DataFrame:
        """All rows, in memory."""
        return self.collect(self.columns)

    def loaded(self) -> Table:
        """The same with its rows in memory."""
        return replace(self, rows=self.frame.lazy(), read=None)

    def compact(self) -> Table:
        """The same with its rows in memory; texts that would fill it as categories, a quarter as large but slower to read."""
        texts = [name for name, kind in self.columns.items() if kind == pl.String]
        num_rows = (
            0 if self.read is not None else _guarded(self.name, lambda: self.rows.select(pl.len()).collect().item())
        )
        if num_rows * len(texts) * TEXT_BYTES <= MOST_TEXT_BYTES:
            return self.loaded()
        coded = self.rows.with_columns(pl.col(name).cast(pl.Categorical(pl.Categories.random())) for name in texts)
        return replace(self, rows=_guarded(self.name, lambda: coded.collect(engine="streaming")).lazy())

    def renamed(self, names: Mapping[str, str]) -> Table:
        """The same with other column names."""
        read, before = self.read, {new: old for old, new in names.items()}

        def read_renamed(columns: Sequence[str], types: Types | None) -> pl.DataFrame:
            assert read is not None
            asked = None if types is None else {before.get(name, name): kind for name, kind in types.items()}
            return read([before.get(name, name) for name in columns], asked).rename(names, strict=False)

        return replace(self, rows=self.rows.rename(names), read=None if read is None else read_renamed)

    def resolved(self, features: Iterable[Feature]) -> Table:
        """The same in memory, paths of pictures and vectors as :meth:`with_paths` has them."""
        return replace(self, rows=self.with_paths(self.frame, features).lazy(), read=None)

    def with_paths(self, frame: pl.DataFrame, features: Iterable[Feature]) -> pl.DataFrame:
        """Its rows in ``frame``, with the paths of pictures and vectors that lie beside its file as seen from here."""
        folder = self.folder
        if folder is None:
            return frame
        files = [feature.name for feature in features if feature.kind in ("image", "vector")]
        texts = [name for name in files if frame.schema[name] == pl.String]
        whole = [[_seen_from(folder, path) for path in frame[name]] for name in texts]
        return frame.with_columns(
            pl.Series(name, paths, dtype=pl.String) for name, paths in zip(texts, whole, strict=True)
        )

    def collect(self, columns: Iterable[str], *, narrow: Types | None = None) -> pl.DataFrame:
        """The rows of the given columns, in memory and in the file's order.

        ``narrow`` names smaller types for integer columns; they are used if all values fit.
        """
        wanted, types = list(columns), self.columns
        smaller = {name: kind for name, kind in (narrow or {}).items() if name in wanted and types[name].is_integer()}

        def gather() -> pl.DataFrame:
            if self.read is None:
                try:
                    casts = [pl.col(name).cast(kind) for name, kind in smaller.items()]
                    return self.rows.select(wanted).with_columns(casts).collect(engine="streaming")
                except pl.exceptions.InvalidOperationError:
                    return self.rows.select(wanted).collect(engine="streaming")
            for kinds in (smaller, {}):
                with contextlib.suppress(pl.exceptions.ComputeError):  # a value does not fit its column's type
                    return self.read(wanted, kinds)
            return self.read(wanted, None)

        return _guarded(self.name, gather)


def read_table(source: Any, *, name: str = "events") -> Table:
    """Open a path or a frame as a :class:`Table`.

    ``source`` is a path to separated text (comma, tab, semicolon, pipe or, for numbers, blanks; UTF-8 or Latin-1;
    gzipped or not), Parquet, Arrow IPC (Feather) or a folder of Parquet files; or a pandas, polars or Arrow frame.
    ``name`` is what messages call a frame; a file is called by its own name. A file that is missing, empty or not what
    it claims to be is a :class:`DataError`.

    >>> read_table(pl.DataFrame({"user_id": [1], "item_id": [7]})).frame.columns
    ['user_id', 'item_id']
    """
    if isinstance(source, str | os.PathLike):
        return _from_path(Path(source), name)
    if isinstance(source, pl.DataFrame):
        return Table(name, source.lazy())
    if isinstance(source, pl.LazyFrame):
        return Table(name, source)
    if type(source).__module__ == "pyarrow.lib" and type(source).__name__ in ("Table", "RecordBatch"):
        return Table(name, _guarded(name, lambda: pl.DataFrame(pl.from_arrow(source))).lazy())
    if type(source).__module__.partition(".")[0] == "pandas" and hasattr(source, "columns"):
        return Table(name, _from_pandas(source, name).lazy())
    raise DataError(
        f"{name} is a {type(source).__module__}.{type(source).__qualname__}. "
        "Give a path (CSV, TSV, Parquet, Arrow IPC or a folder of Parquet files) or a pandas, polars or Arrow frame."
    )


def _from_path(path: Path, name: str) -> Table:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in (".parquet", ".pq"))
        if not files:
            raise DataError(f"The folder {path} has no .parquet files. Give a folder that has, or one file.")
        return Table(path.name, pl.scan_parquet(files), folder=path)
    if not path.is_file():
        siblings = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(
            f"{name}: there is no file {path}.{nearest(path.name, siblings)} Check the path (from {Path.cwd()})."
        )
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes). Give a file with a header line and one line for each row.")
    with path.open("rb") as file:
        magic = file.read(6)
    if magic[:4] == b"PAR1" or path.suffix in (".parquet", ".pq"):
        return Table(path.name, pl.scan_parquet(path), folder=path.parent)
    if magic == b"ARROW1" or path.suffix in (".arrow", ".ipc", ".feather"):
        return Table(path.name, pl.scan_ipc(path), folder=path.parent)
    text = _guarded(path.name, lambda: scan_text(path))
    return Table(path.name, text.rows, text.notes, read=text.read, folder=path.parent)


def _seen_from(folder: Path, path: str | None) -> str | None:
    if path is None or path.startswith("["):
        return path
    with contextlib.suppress(OSError):  # no path at all, which is said where it is read
        found = folder / path
        return str(found) if found.is_file() else path
    return path


def _from_pandas(frame: Any, name: str) -> pl.DataFrame:
    """Copy a pandas frame; its index is left out. Columns that mix types are refused by name."""
    for column in frame.columns:
        values = frame[column]
        if values.ndim == 1 and values.dtype == object:
            kinds = sorted({type(value).__name__ for value in values.dropna()})
            if len(kinds) > 1:
                raise DataError(
                    f"{name}: column {column!r} mixes {' and '.join(kinds)}. "
                    f"Cast it to one type first, e.g. frame[{column!r}] = frame[{column!r}].astype(str)."
                )
    return _guarded(name, lambda: pl.DataFrame(pl.from_pandas(frame)))


def _complaints() -> tuple[type[Exception], ...]:
    """Errors of the libraries below; of pyarrow, which a process that serves has no need of, where somebody loaded it."""
    arrow = sys.modules.get("pyarrow")
    known = (pl.exceptions.PolarsError, OSError, EOFError, ValueError)
    return known if arrow is None else (*known, arrow.ArrowException)


def _guarded(name: str, read: Callable[[], T]) -> T:
    """Run ``read``; what the libraries below complain about becomes an error that names the table."""
    try:
        return read()
    except _complaints() as error:
        cause = " ".join(str(error).split("\n\n")[0].split())
        raise DataError(
            f"{name} cannot be read: {cause}. Check that the file is whole and its rows have equal columns."
        ) from error
