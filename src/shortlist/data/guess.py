"""Columns of a table to the features that they seem to be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal

import polars as pl

from shortlist.data.columns import Columns
from shortlist.data.levels import Levels
from shortlist.data.read import Table
from shortlist.schema import Feature, Owner

FEW_VALUES = 32  # whole numbers with more different values are numeric
HEAD = 1000  # rows to look at before all
MANY = 100_000  # rows that tell texts with separators, and how often values come again
SMALL_TABLE = 20  # in a table of fewer rows, all different values say nothing
PROSE = 5  # words a text has on average where it is to be read, not to name something
CODE_NAME = re.compile(r"(_id|Id|ID|_code|Code|_type|Type|_no)$")
FILES: Mapping[Literal["image", "vector"], re.Pattern[str]] = {
    "image": re.compile(r"\.(png|jpe?g|gif|webp|bmp)$", re.IGNORECASE),
    "vector": re.compile(r"\.npy$"),
}
PICTURE = re.compile(rb"\x89PNG|\xff\xd8\xff|GIF8|BM|RIFF....WEBP", re.DOTALL)  # how their files begin


def table_features(table: Table, owner: Owner, *, skip: set[str | None]) -> tuple[list[Feature], list[str]]:
    """The features that a table's columns seem to be, but for those to ``skip``, and a note of those left out."""
    if table.features is not None:
        return list(table.features), []
    features: list[Feature] = []
    left_out: list[str] = []
    frame = table.frame
    looked_at = [column for column in frame.get_columns() if column.name not in skip]
    guesses = Columns(frame).each(partial(guess_feature, owner=owner, folder=table.folder), looked_at)
    for column, guess in zip(looked_at, guesses, strict=True):
        if isinstance(guess, Feature):
            features.append(guess)
        else:
            left_out.append(f"{column.name} ({guess})")
    return features, [f"{table.name}: left out {', '.join(left_out)}"] if left_out else []


def guess_feature(column: pl.Series, owner: Owner, *, folder: Path | None = None) -> Feature | str:
    """The feature that a column seems to be, or why it is none. Paths may be relative to ``folder``.

    >>> guess_feature(pl.Series("genres", ["Comedy|War", "War"]), "item") == Feature("genres", "multi", "item", "|")
    True
    >>> guess_feature(pl.Series("sku", [f"a{i}" for i in range(100)]), "item")
    'nearly every row has another value'
    """
    kind, name = column.dtype, column.name
    if isinstance(kind, pl.List | pl.Array):
        if kind.inner.is_float():
            widths = (column.arr.to_list() if isinstance(kind, pl.Array) else column).drop_nulls().list.len()
            is_vector = widths.n_unique() == 1 and int(widths[0]) > 0
            return Feature(name, "vector", owner) if is_vector else "its lists of numbers differ in length"
        return Feature(name, "multi", owner)
    num = len(column) - column.null_count()
    if kind.is_float() or kind.is_decimal() or isinstance(kind, pl.Date | pl.Datetime):
        return "it has one value" if num == 0 or is_constant(column.drop_nulls()) else Feature(name, "numeric", owner)
    if kind == pl.Binary:
        contents = column.drop_nulls().head(HEAD)
        is_picture = len(contents) > 0 and all(PICTURE.match(content) for content in contents)
        return Feature(name, "image", owner) if is_picture else "its bytes are no pictures"
    is_code = not kind.is_integer() or CODE_NAME.search(name) is not None
    if not is_code and column.head(HEAD).n_unique() > FEW_VALUES + 1:
        return Feature(name, "numeric", owner)
    is_text = kind == pl.String or isinstance(kind, pl.Categorical | pl.Enum)
    if not (kind.is_integer() or is_text or kind == pl.Boolean):
        return f"its type is {kind}"
    some = column.head(MANY)
    texts = Levels.of(some).texts
    if is_text and (files := _files(texts)) is not None:
        first = texts[0]
        is_there = any(path.is_file() for path in (Path(first), *(() if folder is None else (folder / first,))))
        return Feature(name, files, owner) if is_there else f"there is no file {first}"
    if is_text and texts.str.contains("|", literal=True).any():
        parts = column.drop_nulls().cast(pl.String).str.split("|").explode(empty_as_null=False)
        is_spread = _is_spread(len(parts), parts.n_unique())
        if is_spread:
            return Feature(name, "text", owner) if _is_prose(texts) else "nearly every value is another"
        return Feature(name, "multi", owner, separator="|")
    if len(texts) <= FEW_VALUES or (is_code and _is_spread(len(some) - some.null_count(), len(texts))):
        texts = Levels.of(column).texts
    if len(texts) == 0 or is_constant(column):
        return "it has one value"
    if not is_code and len(texts) > FEW_VALUES:
        return Feature(name, "numeric", owner)
    is_spread = is_code and _is_spread(num, len(texts))
    if is_spread:
        return Feature(name, "text", owner) if is_text and _is_prose(texts) else "nearly every row has another value"
    return Feature(name, "categorical", owner)


def is_constant(column: pl.Series) -> bool:
    """Whether all rows say the same, perhaps nothing."""
    return column.head(HEAD).n_unique() <= 1 and column.n_unique() <= 1


def _is_spread(num: int, different: int) -> bool:
    return num >= SMALL_TABLE and different > num / 2


def _is_prose(texts: pl.Series) -> bool:
    words = texts.head(HEAD).str.split(" ").list.len().mean()
    return isinstance(words, float) and words >= PROSE


def _files(texts: pl.Series) -> Literal["image", "vector"] | None:
    """What the files are that all texts name, if they do."""
    some = texts.head(HEAD)
    for kind, pattern in FILES.items():
        if len(some) and all(pattern.search(text) for text in some):
            return kind
    return None
