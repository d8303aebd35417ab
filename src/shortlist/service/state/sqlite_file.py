"""A path into a connection to a store, made whole if there is none, and SQLite's errors into ours.

What is there already is looked at before SQLite touches it: a file that is no store, is of a newer version or is damaged is
refused and left as it is. A new store appears at its path whole or not at all, also where several processes make it at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import time
import uuid
from pathlib import Path
from urllib.parse import quote

import msgspec

from shortlist.errors import StateError, StateFull, StateUnavailable

APPLICATION_ID = 0x53684C73  # "ShLs": marks the file as a store of this kind; file(1) shows it
VERSION = 1
LOOK_S = 0.5  # time for looking through the file when it is opened: about 500,000 events
_MAGIC = b"SQLite format 3\0"
_APPLICATION_ID_AT = slice(68, 72)

# A user's events lie side by side, newest last, and are read from this one tree. ``place`` is 1, 2, 3 … for each user. Types are
# stated as conditions, since SQLite keeps what it is given, and then the look-through finds damage to them.
TABLES = (
    """CREATE TABLE events (
    user_id TEXT NOT NULL, place INTEGER NOT NULL, event_id TEXT NOT NULL UNIQUE, item_id TEXT NOT NULL,
    timestamp INTEGER, received REAL NOT NULL, PRIMARY KEY (user_id, place),
    CHECK (typeof(user_id) = 'text' AND typeof(place) = 'integer' AND typeof(event_id) = 'text'
        AND typeof(item_id) = 'text' AND typeof(timestamp) IN ('integer', 'null') AND typeof(received) = 'real')
) WITHOUT ROWID""",
    "CREATE TABLE trimmed (event_id TEXT NOT NULL PRIMARY KEY, received REAL NOT NULL) WITHOUT ROWID",
    "CREATE INDEX trimmed_received ON trimmed (received)",
    """CREATE TABLE items (
    revision INTEGER PRIMARY KEY, item_id TEXT NOT NULL UNIQUE, columns TEXT, received REAL NOT NULL,
    CHECK (typeof(item_id) = 'text' AND typeof(columns) IN ('text', 'null') AND typeof(received) = 'real')
)""",
    "CREATE TABLE checks (place INTEGER PRIMARY KEY, made REAL NOT NULL)",
)


def opened(path: Path, *, wait_s: float) -> sqlite3.Connection:
    """A connection to the store at ``path`` that waits ``wait_s`` for locks. Any thread may use it, one at a time."""
    uri = f"file:{quote(str(path))}?mode=rw"  # never makes a file
    connection = sqlite3.connect(uri, uri=True, timeout=wait_s, isolation_level=None, check_same_thread=False)
    try:
        # FULL: a transaction is on the disk when it is done. The second line says the same to macOS.
        for pragma in ("synchronous = FULL", "fullfsync = ON", "checkpoint_fullfsync = ON", "trusted_schema = OFF"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def prepare(path: Path, *, wait_s: float) -> None:
    """Make the store if there is no file at ``path``; refuse one that is no sound store of this version."""
    if not path.exists():
        _make(path)
    _check_header(path)
    with contextlib.closing(opened(path, wait_s=wait_s)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise StateUnavailable(
                f"{path} is a store of version {version}; this Shortlist reads {VERSION}. It was written by a newer one: "
                "use that, or another file."
            )
        found = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master")}
        if version < 1 or not found.issuperset(TABLES):
            raise StateUnavailable(f"{path} lacks tables of a store: it is damaged. {_REPAIR}")
        if connection.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
            raise StateUnavailable(
                f"{path} lies on a file system without what SQLite's WAL mode needs. Use a local disk."
            )
        _look_through(connection, path)


def translated(error: Exception, path: Path) -> StateError:
    """What SQLite or the system raised about ``path``, as one of our errors."""
    if isinstance(error, OSError):
        return StateUnavailable(f"{path} cannot be used: {error.strerror or error}.")
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary == sqlite3.SQLITE_FULL or (primary == sqlite3.SQLITE_IOERR and (reason := _no_room(path))):
        why = "" if primary == sqlite3.SQLITE_FULL else f" ({reason})"
        return StateFull(
            f"{path} has no room to grow{why}; nothing was stored. Make room on its disk, then send it again."
        )
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StateUnavailable(f"{path} was locked by another process for too long. Try again, or end what locks it.")
    if is_damage(error):
        return StateUnavailable(f"{path} is damaged: {error}. {_REPAIR}")
    return StateUnavailable(f"{path} cannot be used: {error}.")


def is_damage(error: Exception) -> bool:
    """Whether SQLite found something in the file that it did not write there."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # text that is no UTF-8, in a row or in SQLite's own message about the tables, or is no JSON
        return isinstance(error, UnicodeDecodeError | msgspec.DecodeError) or "decode to UTF-8" in str(error)
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


_REPAIR = "It is left as it is. Put back a copy, or use another file; sqlite3's .recover saves what can be read."


def _make(path: Path) -> None:
    """Make an empty store beside ``path`` and give it that name, unless another process was faster."""
    if not path.parent.is_dir():
        raise StateUnavailable(f"{path} cannot be made: there is no folder {path.parent}. Make it, or name another.")
    for ending in ("-wal", "-journal"):
        rest = path.with_name(path.name + ending)
        if rest.exists():  # SQLite would mix its contents into a new file
            raise StateUnavailable(
                f"{path} is not there, but {rest.name} is, a part of it. Put the store back, or remove that part as well."
            )
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with contextlib.closing(sqlite3.connect(beside, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN")
            for statement in (*TABLES, f"PRAGMA application_id = {APPLICATION_ID}", f"PRAGMA user_version = {VERSION}"):
                connection.execute(statement)
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode = WAL")
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
        _sync_folder(path.parent)
    finally:
        for ending in ("", "-wal", "-shm", "-journal"):
            beside.with_name(beside.name + ending).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Have the names in ``folder`` survive a power cut, where a folder can be opened for it."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _check_header(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(100)
    if not head.startswith(_MAGIC) or len(head) < 100:
        raise StateUnavailable(
            f"{path} is no store: it does not begin like one. It is left as it is; name another file."
        )
    if head[_APPLICATION_ID_AT] != APPLICATION_ID.to_bytes(4, "big"):
        raise StateUnavailable(f"{path} is an SQLite file of something else. It is left as it is; name another file.")


def _look_through(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file in which SQLite finds damage, as far as it comes in :data:`LOOK_S`."""
    until = time.monotonic() + LOOK_S
    connection.set_progress_handler(lambda: time.monotonic() > until, 10_000)
    try:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            return
        raise
    if found != "ok":
        raise StateUnavailable(f"{path} is damaged: {' '.join(found.split())}. {_REPAIR}")


def _no_room(path: Path) -> str | None:
    """Why no file beside ``path`` can grow as the store would, if that is so: a quota or a limit on the size of files.

    SQLite tells only of a full disk as such; these others look to it like a disk that fails.
    """
    sizes = [p.stat().st_size for p in (path, path.with_name(path.name + "-wal")) if p.exists()]
    probe = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with probe.open("wb") as file:
            file.seek(max(sizes, default=0))
            file.write(bytes(8_192))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else None
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    return None
