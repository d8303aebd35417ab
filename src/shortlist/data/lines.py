"""Text files with a whole sequence in each line to a table of events, in their order.

Format ``sessions`` has the items of one session in a line; ``user_items`` has a user and then the user's items.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from shortlist.data.read import Table
from shortlist.errors import DataError

FORMATS = ("sessions", "user_items")


def read_lines(source: Any, *, format: str) -> Table:
    """The events of a file whose lines are ids between blanks or tabs: ``user_id`` or ``session_id``, and ``item_id``.

    Sessions are numbered from 1 in the file's order. Lines without an item are counted and left out.
    """
    path = Path(source) if isinstance(source, str | Path) else None
    if path is None or not path.is_file():
        raise DataError(f"Format {format!r} reads a text file with a sequence in each line; found {source!r}.")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as UTF-8 text: {error}. Format {format!r} is ids between blanks."
        ) from error
    words = pl.Series("item_id", text.splitlines()).str.extract_all(r"\S+")
    lines = words.to_frame()
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


def _numbers(ids: pl.Series) -> pl.Series:
    if ids.dtype != pl.String:
        return ids.cast(pl.Int64)
    numbers = ids.cast(pl.Int64, strict=False)
    return ids if numbers.has_nulls() or not (numbers.cast(pl.String) == ids).all() else numbers
