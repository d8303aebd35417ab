"""The vocabularies of a data set to Parquet files: which id each index is, and the encoded features of users."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import torch

from shortlist.contracts import Features
from shortlist.data import Dataset


def write_ids(dataset: Dataset, folder: Path, withdrawn: list[int]) -> dict[str, Any]:
    """Write which id each index of users and items is, with the encoded features of users, and say where that is."""
    encoders, facts = dataset.encoders, dict[str, Any]()
    for kind, vocabulary in (("items", encoders.items), ("users", encoders.users)):
        if not len(vocabulary):
            continue
        frame = pl.DataFrame({"index": pl.int_range(1, len(vocabulary) + 1, eager=True), "id": vocabulary.ids.tolist()})
        if kind == "items":
            frame = frame.with_columns(offered=~pl.col("index").is_in(withdrawn))
        elif dataset.user_features is not None:
            rows = torch.arange(1, len(vocabulary) + 1)
            frame = frame.with_columns(**_encoded(dataset.user_features.take(rows)))
        frame.write_parquet(folder / f"{kind}.parquet")
        facts[kind] = {"file": f"{kind}.parquet", "columns": frame.columns, "unknown": 0}
    return facts


def _encoded(features: Features) -> dict[str, pl.Series]:
    """The encoded columns as the inputs are called, a row for each user; thumbnails are left out."""
    tables = {"categorical": features.categorical, "numeric": features.numeric, "vectors": features.vectors}
    found = {f"user_{name}": pl.Series(list(table.numpy())) for name, table in tables.items() if table is not None}
    for number, field in enumerate(features.multi):
        stops = field.offsets.tolist()
        rows = [field.values[start:stop].tolist() for start, stop in pairwise(stops)]
        found[f"user_multi{number}"] = pl.Series(rows, dtype=pl.List(pl.Int32))
    return found
