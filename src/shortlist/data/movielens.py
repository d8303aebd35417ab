"""MovieLens' files to tables with plain columns: events, movies and users of the 100K, 1M and newer releases."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import polars as pl

from shortlist.data.read import Table, read_table
from shortlist.data.text import text_source
from shortlist.errors import DataError, SchemaError
from shortlist.schema import Feature

Role = Literal["events", "items", "users"]

GENRES = (
    "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy", "Film-Noir",
    "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
NAMES: Mapping[Role, Mapping[int, tuple[str, ...]]] = {  # by the number of columns, for files without a header line
    "events": {4: ("user_id", "item_id", "rating", "timestamp")},
    "items": {
        3: ("item_id", "title", "genres"),
        24: ("item_id", "title", "released", "video_released", "url", "unknown", *GENRES),
    },
    "users": {5: ("user_id", "age", "gender", "occupation", "zip")},
}
USERS_1M = ("user_id", "gender", "age", "occupation", "zip")
RENAMED = {"userId": "user_id", "movieId": "item_id"}
HEADERS: Mapping[Role, tuple[frozenset[str], ...]] = {
    "events": (
        frozenset({"userId", "movieId", "rating", "timestamp"}),
        frozenset({"user_id", "item_id", "rating", "liked", "position", "timestamp"}),
    ),
    "items": (frozenset({"movieId", "title", "genres"}),),
    "users": (),
}
FILE_NAMES: Mapping[Role, frozenset[str]] = {
    "events": frozenset({"u.data", "ratings.dat"}),
    "items": frozenset({"u.item", "movies.dat"}),
    "users": frozenset({"u.user", "users.dat"}),
}
NO_GENRES = ("unknown", "(no genres listed)")


def is_movielens(source: Any, role: Role) -> bool:
    """Whether a path is one of MovieLens' files beyond doubt: by its name, or by its name and its header line."""
    if not isinstance(source, str | os.PathLike):
        return False
    path = Path(source)
    if path.name in FILE_NAMES[role]:
        return path.is_file()
    if path.suffix != ".csv" or not path.is_file():
        return False
    with path.open("rb") as file:
        header = file.readline(1000).decode("utf-8", errors="replace").strip().split(",")
    return frozenset(header) in HEADERS[role]


def read_movielens(source: Any, *, role: Role) -> Table:
    """Read events, items or users of any MovieLens release, from a path or a frame with its columns.

    Events have ``user_id item_id rating timestamp``. Movies have ``item_id title genres`` (a list) and ``year``, from the
    title's end. Users have ``user_id gender age occupation`` and ``zip_region``, the first digit of the zip code. A file
    with a column ``position`` is ordered by it.
    """
    table = _open(source, role)
    needed = {"events": {"user_id", "item_id"}, "items": {"item_id", "title"}, "users": {"user_id"}}[role]
    if missing := sorted(needed - set(table.columns)):
        raise SchemaError(
            f"{table.name} is not MovieLens' {role}: it has no column {missing[0]!r}. Columns found: {', '.join(table.columns)}. "
            "Leave format out to read it as a plain file."
        )
    if role == "events":
        return replace(table, order="position") if "position" in table.columns else table
    return _movies(table) if role == "items" else _users(table)


def _open(source: Any, role: Role) -> Table:
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        separator = _separator(path)
        if separator is not None:
            return _without_header(path, separator, role)
    table = read_table(source, name=role)
    names = {old: new for old, new in RENAMED.items() if old in table.columns}
    return table.renamed(names) if names else table


def _separator(path: Path) -> str | None:
    """What separates the fields of a file without a header line; None for any other."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        line = file.readline(2000)
    if b"::" in line and line.split(b"::")[0].isdigit():
        return "::"
    return next((mark for mark in ("\t", "|") if line.split(mark.encode())[0].isdigit()), None)


def _without_header(path: Path, separator: str, role: Role) -> Table:
    contents, encoding, _ = text_source(path)
    notes = () if encoding == "utf-8" else (f"{path.name}: read as {encoding}, because it is not UTF-8",)
    if separator == "::":  # a reader takes one character: use one that no file holds
        raw = contents.read_bytes() if isinstance(contents, Path) else contents
        contents, separator = raw.replace(b"::", b"\x1f"), "\x1f"
    rows = pl.scan_csv(contents, separator=separator, has_header=False, quote_char=None)
    found = list(rows.collect_schema())
    names = NAMES[role].get(len(found))
    if names is None:
        expected = " or ".join(map(str, NAMES[role]))
        raise DataError(
            f"{path} has {len(found)} columns, and MovieLens' {role} have {expected}. Is it the file of something else?"
        )
    if role == "users" and separator == "\x1f":
        names = USERS_1M
    if "zip" in names:
        rows = pl.scan_csv(
            contents, separator=separator, has_header=False, quote_char=None, schema_overrides={found[4]: pl.String}
        )
    return Table(path.name, rows.rename(dict(zip(found, names, strict=True))), notes)


def _movies(table: Table) -> Table:
    frame = table.frame
    if "released" in frame.columns:
        flags = [pl.when(pl.col(genre) == 1).then(pl.lit(genre)) for genre in GENRES]
        genres = pl.concat_list(flags).list.drop_nulls()
        released = pl.col("released").str.extract(r"(\d{4})$")
    else:
        listed = pl.col("genres").str.split("|") if frame.schema["genres"] == pl.String else pl.col("genres")
        genres = listed.list.eval(pl.element().filter(~pl.element().is_in(NO_GENRES)))
        released = pl.lit(None, dtype=pl.String)
    year = pl.col("title").str.extract(r"\((\d{4})[^()]*\)\s*$").fill_null(released).cast(pl.Int32)
    movies = frame.select("item_id", pl.col("title").str.strip_chars(), genres.alias("genres"), year.alias("year"))
    features = (Feature("genres", "multi", "item"), Feature("year", "numeric", "item"))
    return replace(table, rows=movies.lazy(), features=features, read=None)


def _users(table: Table) -> Table:
    frame, notes = table.frame, table.notes
    columns = [name for name in frame.columns if name in ("gender", "age", "occupation")]
    expressions = [pl.col(name) for name in ("user_id", *columns)]
    if "zip" in frame.columns:
        first = pl.col("zip").cast(pl.String).str.extract(r"^\s*(\d)")
        expressions.append(first.fill_null("other").alias("zip_region"))
        columns.append("zip_region")
        notes = (*notes, f"{table.name}: of zip only the first digit is kept, as zip_region")
    ages = frame["age"].n_unique() if "age" in columns else 0
    features = tuple(
        Feature(name, "numeric" if name == "age" and ages > 10 else "categorical", "user")  # ML-1M has seven age groups
        for name in columns
    )
    return replace(table, rows=frame.select(expressions).lazy(), features=features, notes=notes, read=None)
