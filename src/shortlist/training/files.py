"""A path to a file that is either the old one or the whole new one, whenever the process dies."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from shortlist.errors import TrainingError

__all__ = ["removed", "written_whole"]


@contextmanager
def written_whole(path: Path, /) -> Iterator[Path]:
    """Give a temporary path near ``path`` to write to; after the block it is on the disk and takes ``path``'s name.

    If the block fails, what was written is gone and ``path`` as it was; a disk error becomes a
    :class:`~shortlist.errors.TrainingError`.
    """
    temporary = _folder(path) / path.name
    try:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{path} cannot be written: {error}. What was there before is unharmed. "
            "Free some space, or give training another run_dir."
        ) from error
    finally:
        _clear(path)


def removed(path: Path, /) -> None:
    """Delete ``path``, and what a process that died while it wrote has left of it."""
    path.unlink(missing_ok=True)
    _clear(path)


def _folder(path: Path) -> Path:
    """Where ``path`` is written: a folder of its own, for safetensors adds temporary files to what it writes beside."""
    return path.with_name(f"{path.name}.part")


def _clear(path: Path) -> None:
    shutil.rmtree(_folder(path), ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    """Make the new name itself durable, where the system lets a folder be opened (Windows does not)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
