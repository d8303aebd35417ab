"""Frames and folders to their places on disk, whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
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


def put_in_place(temporary: Path, target: Path) -> None:
    """Give a whole new folder the name ``target``, in the place of one that is there; both are in the same folder."""
    temporary.chmod(0o755)
    if not target.exists():
        temporary.rename(target)
        return
    retired = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    target.rename(retired / "old")
    try:
        temporary.rename(target)
    except OSError:
        (retired / "old").rename(target)
        raise
    finally:
        shutil.rmtree(retired, ignore_errors=True)
