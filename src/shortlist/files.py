"""Frames to files, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import polars as pl

from shortlist.errors import DataError


def write_frame(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame as .parquet, .csv or .json, beside its place and then renamed."""
    writers: dict[str, Callable[[Path], object]] = {
        ".parquet": frame.write_parquet,
        ".csv": frame.write_csv,
        ".json": frame.write_json,
    }
    if path.suffix not in writers:
        raise DataError(f"{path} ends in {path.suffix or 'nothing'!r}. Frames are written as: {', '.join(writers)}.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        writers[path.suffix](temporary)
        temporary.replace(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        cause = getattr(error, "strerror", None) or error
        raise DataError(f"Cannot write {path}: {cause}. Nothing was written.") from error
    finally:
        temporary.unlink(missing_ok=True)
