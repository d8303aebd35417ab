"""Frames to files and folders to their places, whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import glob
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from shortlist.errors import DataError

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE, as Linux knows them


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


@contextlib.contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """A new folder to fill, which takes the place of ``target`` after the block, and is durable then.

    Whoever looks meanwhile, also after a kill at any moment, finds the old folder or the new one, whole. (Where the system
    cannot exchange two names at once, as Linux can on a local disk, there is a moment without either, and a kill in it leaves
    the old one as ``.NAME.*/old`` beside its place.) With an error nothing has changed. What writers leave beside it that are
    killed is removed by the next one.
    """
    with _workshop(target) as workshop:
        new = workshop / "new"
        new.mkdir()
        yield new
        for path in (*new.iterdir(), new):
            _sync(path)
        _put(new, target, workshop / "old")
    with contextlib.suppress(OSError):  # the next writer tries again
        _sweep(target)


def _put(new: Path, target: Path, old: Path) -> None:
    """Give ``new`` the name ``target``; what has had it is under the name of ``new`` or ``old`` then."""
    if not target.exists():
        new.rename(target)
    elif not _exchanged(new, target):
        target.rename(old)
        try:
            new.rename(target)
        except OSError:
            old.rename(target)
            raise
    with contextlib.suppress(OSError):  # a disk that fails at this may bring back the old one, whole, after a power cut
        _sync(target.parent)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where that cannot be done."""
    if sys.platform != "linux" or not hasattr(libc := ctypes.CDLL(None, use_errno=True), "renameat2"):
        return False
    if libc.renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.EXDEV):  # as some network and layered file systems say
        return False
    raise OSError(number, os.strerror(number), str(other))


@contextlib.contextmanager
def _workshop(target: Path) -> Iterator[Path]:
    """A folder beside ``target`` for the block, which nobody else removes meanwhile."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        handle = _locked(folder, wait=True)
        if handle is None or folder.exists():  # else another writer has swept it away before it was locked
            break
        os.close(handle)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def _sweep(target: Path) -> None:
    """Remove what is left of writers that were killed: whoever is alive has locked his folder."""
    for folder in target.parent.glob(f".{glob.escape(target.name)}.????????"):
        handle = _locked(folder, wait=False)
        if handle is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)


def _locked(folder: Path, *, wait: bool) -> int | None:
    """The handle of a folder that nobody else has locked, as long as it is open; None where there is none to be had."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # gone, or no folder
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(handle)
        return None
    return handle


def _sync(path: Path) -> None:
    """Have a file, or the names in a folder, survive a power cut, where that can be asked for."""
    if sys.platform == "win32":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
