"""A column of a frame to a column of vectors, once, by any function or by a model's name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import polars as pl

from shortlist.data.image_columns import Pictures
from shortlist.data.pretrained import SentenceEncoder, VisionEncoder
from shortlist.data.read import read_table
from shortlist.data.text_encoder import distinct_texts
from shortlist.data.vector_cache import content_key, frozen_vectors
from shortlist.errors import SchemaError, SettingsError
from shortlist.schema import Feature

EncodedKind = Literal["text", "image"]
Encoder = Callable[[Sequence[Any]], Any]


def embed_column(
    frame: Any, *, column: str, encoder: str | Encoder, kind: EncodedKind = "text", keep_as: str | None = None
) -> pl.DataFrame:
    """The frame (or file) with ``column`` made a column of vectors, for a feature of kind ``vector``.

    ``encoder`` is a function from a list of M values to an array (M, D) of numbers: of texts, or with ``kind="image"`` of
    Pillow images in RGB, at most 1,024 at a time. A name is that of a sentence-transformers or a transformers vision model.
    Equal values are embedded once, and a missing one stays missing. With ``keep_as``, a name for the function as it is
    now, vectors are kept on disk by the content's hash and made only where they are new.

    >>> frame = pl.DataFrame({"item_id": [1, 2, 3], "note": ["short", None, "rather long"]})
    >>> embed_column(frame, column="note", encoder=lambda texts: [[len(text), 1.0] for text in texts])["note"].to_list()
    [[5.0, 1.0], None, [11.0, 1.0]]
    """
    table = read_table(frame, name="frame")
    if column not in table.columns:
        raise SchemaError(f"{table.name} has no column {column!r}. Columns found: {', '.join(table.columns)}.")
    if kind not in get_args(EncodedKind):
        raise SettingsError(f"kind is {kind!r}. It is one of: text, image.")
    known = table.with_paths(table.frame, [Feature(column, kind, "item")])
    if isinstance(encoder, str):
        fitted = SentenceEncoder.fit if kind == "text" else VisionEncoder.fit
        found, there = fitted(known[column], encoder).encode(known[column])
        made, rows = found.numpy(), np.where(there.numpy(), np.arange(len(known)), -1)
    else:
        made, rows = _embedded(known[column], encoder, kind, keep_as)
    places = pl.Series(rows.astype(np.int64)).replace(-1, None)
    vectors = pl.Series(column, made, dtype=pl.Array(pl.Float32, made.shape[1]))
    return known.with_columns(vectors.gather(places))


def _embedded(column: pl.Series, encoder: Encoder, kind: EncodedKind, keep_as: str | None) -> tuple[Any, Any]:
    """Vectors (M, D) of the different values, and which of them each row (N,) has."""
    if kind == "text":
        texts, rows = distinct_texts(column)
        keys = [content_key(text.encode()) for text in texts]

        def embed(chosen: list[int]) -> Any:
            return encoder([texts[place] for place in chosen])
    else:
        pictures = Pictures(column)
        rows = pictures.rows
        keys = pictures.each(lambda number: content_key(pictures.content(number)))

        def embed(chosen: list[int]) -> Any:
            return encoder([pictures.open(number) for number in chosen])

    if not keys:
        raise SettingsError(f"Column {column.name!r} has nothing to embed: all {len(column):,} rows are empty.")
    return frozen_vectors(keys, embed, identity=None if keep_as is None else f"function {keep_as}"), rows.numpy()
