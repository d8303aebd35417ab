"""Text files with a whole sequence, or a labelled row, in each line to a table of events, in their order.

Format ``sessions`` has the items of one session in a line; ``user_items`` has a user and then the user's items;
``libfm`` has a label and the same number of categories in every line, written ``id:1``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from shortlist.data.read import Table
from shortlist.errors import DataError
from shortlist.schema import Feature

FORMATS = ("sessions", "user_items")


def read_lines(source: Any, *, format: str) -> Table:
    """The events of a file whose lines are ids between blanks or tabs: ``user_id`` or ``session_id``, and ``item_id``.

    Sessions are numbered from 1 in the file's order. Lines without an item are counted and left out.
    """
    path, words = _words(source, format, "a sequence", "ids between blanks")
    lines = words.alias("item_id").to_frame()
    if format == "user_items":
        owner, lines = "user_id", lines.with_columns(pl.col("item_id").list.first().alias("user_id"))
        lines = lines.with_columns(pl.col("item_id").list.slice(1))
    else:
        owner, lines = "session_id", lines.with_row_index("session_id", offset=1)
    whole = lines.filter(pl.col("item_id").list.len() > 0)
    if not len(whole):
        raise DataError(f"{path} has no line with an item. Format {format!r} is ids between blanks.")
    notes = [f"{path.name}: {len(lines) - len(whole):,} lines without an item are left out"]
    events = whole.explode("item_id").select(owner, "item_id")
    for column in events.columns:  # numbers stay numbers
        events = events.with_columns(_numbers(events[column]))
    return Table(path.name, events.lazy(), tuple(notes) if len(whole) < len(lines) else ())


def read_libfm(source: Any) -> Table:
    """The rows of a libFM file: ``label`` (0 or 1; -1 is read as 0) and the categories ``field_1``, ``field_2``, ….

    Every line has the same number of fields, and the value of each is 1: other files are a :class:`DataError`.
    """
    path, words = _words(source, "libfm", "a row", "a label and entries such as 17:1")
    words = words.filter(words.list.len() > 0)
    if not len(words):
        raise DataError(f"{path} has no rows. Give a file with at least one.")
    sizes = words.list.len()
    if sizes.n_unique() > 1:
        row = int((sizes != sizes[0]).arg_max() or 0)
        raise DataError(
            f"{path}: line {row + 1} has {sizes[row] - 1} fields and line 1 has {sizes[0] - 1}. Format 'libfm' is read where "
            "every line has the same fields; make columns of others."
        )
    frame = words.list.to_struct(fields=["label", *(f"field_{field}" for field in range(1, sizes[0]))]).struct.unnest()
    labels = frame["label"].cast(pl.Float64, strict=False)
    columns = [labels.replace(-1.0, 0.0)]
    for column in frame.get_columns()[1:]:
        parts = column.str.split(":")
        if not ((parts.list.len() == 2) & (parts.list.last() == "1")).all():
            row = int((~((parts.list.len() == 2) & (parts.list.last() == "1"))).arg_max() or 0)
            raise DataError(
                f"{path}: line {row + 1} has {column[row]!r}. Format 'libfm' is read where each field is id:1."
            )
        columns.append(_numbers(parts.list.first().alias(column.name)))
    features = tuple(Feature(column.name, "categorical", "context") for column in columns[1:])
    return Table(path.name, pl.DataFrame(columns).lazy(), features=features)


def _words(source: Any, format: str, what: str, looks: str) -> tuple[Path, pl.Series]:
    """The path and the words of each line."""
    path = Path(source) if isinstance(source, str | Path) else None
    if path is None or not path.is_file():
        raise DataError(f"Format {format!r} reads a text file with {what} in each line; found {source!r}.")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}. Format {format!r} is {looks}.") from error
    return path, pl.Series("words", text.splitlines()).str.extract_all(r"\S+")


def _numbers(ids: pl.Series) -> pl.Series:
    if ids.dtype != pl.String:
        return ids.cast(pl.Int64)
    numbers = ids.cast(pl.Int64, strict=False)
    return ids if numbers.has_nulls() or not (numbers.cast(pl.String) == ids).all() else numbers
