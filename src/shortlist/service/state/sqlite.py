"""The service's state in one SQLite file, which the workers of one machine share.

What holds, by SQLite's WAL with ``synchronous=FULL``:

- An event or a change of an item is on the disk when the call returns. Neither the end of the process nor a power cut loses it,
  if the disk keeps what it says that it has flushed.
- A call is stored whole or not at all. A call that failed has stored nothing that a reader sees; should the process end in that
  very moment, its events may be there afterwards. Sent again, they are duplicates.
- Events are in the order of storing, per user, over all processes.
- Reading goes on while another thread or process writes, while the disk is full, and while the file is locked for writing.
- An ``event_id`` is known as long as its event is kept, and for ``ids_kept_s`` after it was received in any case.
- Of each user at least the last ``keep`` events are kept; when there are an eighth more, the rest is deleted.

What does not: SQLite puts no checksums on what lies in the file. Damage to its structure is found and refused, when it is
opened or met; a changed letter in an id is not. The file must be on a local disk, and each process opens it for itself (after a
fork, not before).
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from shortlist.errors import StateFull, StateUnavailable, check_ranges
from shortlist.service.state import sqlite_file
from shortlist.service.state.contract import (
    IDS_KEPT_S,
    KEEP,
    Appended,
    ItemChange,
    ItemPut,
    StoredEvent,
    check_events,
    check_limit,
    check_received,
    check_text,
    encoded_changes,
)
from shortlist.service.state.grouping import Events, Grouping

# How often a writer looks whether another process is done. SQLite's own waits grow to 0.1 s: beside busy writers it starves.
POLL_S = 0.0002
WRITER_CACHE_KIB = 16 * 1024  # SQLite's usual 2 MiB make storing into a million events take a third longer
MOST_FORGOTTEN = 5_000  # old ids in one transaction
PAGE = 10_000  # events that are read at a time, of all

_INSERT = """INSERT INTO events SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE NOT EXISTS (SELECT 1 FROM trimmed WHERE event_id = ?3)
ON CONFLICT (event_id) DO NOTHING"""
_RECENT = "SELECT event_id, item_id, timestamp, received FROM events WHERE user_id = ? ORDER BY place DESC LIMIT ?"
_ALL = """SELECT user_id, place, event_id, item_id, timestamp, received FROM events
WHERE (user_id, place) > (?, ?) ORDER BY user_id, place LIMIT ?"""
_CHANGES = "SELECT revision, item_id, columns, received FROM items WHERE revision > ? ORDER BY revision"
_REVISION = "SELECT coalesce(max(revision), 0) FROM items"

_decode_columns = msgspec.json.Decoder(dict[str, Any]).decode


class SQLiteState:
    """A :class:`~shortlist.service.state.State` in the file ``path``, which is made if it is not there.

    ``keep`` events of each user, ids of events for ``ids_kept_s`` seconds, and ``wait_s`` seconds for another process that
    writes.
    """

    def __init__(
        self, path: str | Path, *, keep: int = KEEP, ids_kept_s: float = IDS_KEPT_S, wait_s: float = 2.0
    ) -> None:
        self.path = Path(path).absolute()
        self.keep = keep
        self.ids_kept_s = ids_kept_s
        self.wait_s = wait_s
        check_ranges(self, whole=("keep",), above_0=("ids_kept_s", "wait_s"))
        self._writing = threading.Lock()
        self._grouping = Grouping(self._write_events)
        self._readers: list[sqlite3.Connection] = []  # idle ones
        self._is_closed = False
        self._damage: StateUnavailable | None = None
        with self._translating():
            sqlite_file.prepare(self.path, wait_s=wait_s)
            self._identity = self._file_identity()
            self._writer = sqlite_file.opened(self.path, wait_s=wait_s)
            self._writer.execute(f"PRAGMA cache_size = -{WRITER_CACHE_KIB}")
            self._writer.execute("PRAGMA busy_timeout = 0")  # from here on it waits by itself: see _begin

    def append_events(self, events: Sequence[StoredEvent]) -> Appended:
        """Store events durably, in one transaction with those of other threads that wait; how many, and how many were known."""
        check_events(events)
        return self._grouping.append(events) if events else Appended(0, 0)

    def recent_events(self, user_id: str, *, limit: int) -> list[StoredEvent]:
        """The last ``limit`` stored events of a user, at most ``keep``, oldest first."""
        check_text(user_id, "A user_id")
        check_limit(limit)
        with self._reading() as connection:
            rows = connection.execute(_RECENT, (user_id, min(limit, self.keep))).fetchall()
        return [
            StoredEvent(event_id, user_id, item_id, timestamp, received)
            for event_id, item_id, timestamp, received in reversed(rows)
        ]

    def all_events(self) -> Iterator[StoredEvent]:
        """All events by user and the order of storing, some at a time: whoever writes does not wait for who reads them."""
        after = ("", 0)  # before all: places begin with 1
        while True:
            with self._reading() as connection:
                rows = connection.execute(_ALL, (*after, PAGE)).fetchall()
            if not rows:
                return
            yield from (
                StoredEvent(event_id, user, item, at, received) for user, _, event_id, item, at, received in rows
            )
            after = rows[-1][:2]

    def change_items(self, changes: Sequence[ItemPut], *, received: float) -> int:
        """Put or delete items in one durable transaction; the last revision."""
        check_received(received)
        rows = encoded_changes(changes)
        if not rows:
            return self.revision()
        with self._transaction() as connection:
            (last,) = connection.execute(_REVISION).fetchone()
            connection.executemany(
                "REPLACE INTO items (revision, item_id, columns, received) VALUES (?, ?, ?, ?)",
                ((last + place, item_id, row, received) for place, (item_id, row) in enumerate(rows, start=1)),
            )
        return int(last) + len(rows)

    def item_changes(self, *, after: int) -> list[ItemChange]:
        """Each item's last change, if its revision is above ``after``, by revision."""
        with self._reading() as connection:
            rows = connection.execute(_CHANGES, (after,)).fetchall()
            return [
                ItemChange(revision, item_id, None if row is None else _decode_columns(row), received)
                for revision, item_id, row, received in rows
            ]

    def revision(self) -> int:
        """The revision of the last change of an item, 0 before the first."""
        with self._reading() as connection:
            (last,) = connection.execute(_REVISION).fetchone()
        return int(last)

    def check(self) -> None:
        """Write durably, and read."""
        try:
            with self._transaction() as connection:
                connection.execute("REPLACE INTO checks VALUES (1, ?)", (time.time(),))
        except StateFull as error:
            raise StateUnavailable(*error.args) from error
        self.recent_events("", limit=1)

    def close(self) -> None:
        """Close the file, after what is being written."""
        with self._writing:
            if not self._is_closed:
                self._is_closed = True
                self._writer.close()
        self._close_readers()

    def _write_events(self, group: Sequence[Events]) -> list[Appended]:
        """Store the events of several calls in one transaction."""
        outcomes = []
        places: dict[str, int] = {}  # the last of each user
        newest = 0.0
        with self._transaction() as connection:
            for events in group:
                stored = 0
                for event in events:
                    user_id = event.user_id
                    if user_id not in places:
                        sql = "SELECT coalesce(max(place), 0) FROM events WHERE user_id = ?"
                        (places[user_id],) = connection.execute(sql, (user_id,)).fetchone()
                    row = (
                        user_id,
                        places[user_id] + 1,
                        event.event_id,
                        event.item_id,
                        event.timestamp,
                        float(event.received),
                    )
                    if connection.execute(_INSERT, row).rowcount == 1:
                        places[user_id] += 1
                        stored += 1
                        newest = max(newest, event.received)
                outcomes.append(Appended(stored, len(events) - stored))
            for user_id, place in places.items():
                if place > self.keep:
                    self._trim(connection, user_id, last=place, now=newest)
        return outcomes

    def _trim(self, connection: sqlite3.Connection, user_id: str, *, last: int, now: float) -> None:
        """Delete all but the newest ``keep`` events of a user if there are an eighth more; their ids stay known for a time."""
        (first,) = connection.execute("SELECT min(place) FROM events WHERE user_id = ?", (user_id,)).fetchone()
        if last - first < self.keep + self.keep // 8:
            return
        which = "FROM events WHERE user_id = ? AND place <= ?"
        forget_before = now - self.ids_kept_s
        connection.execute(
            f"INSERT OR IGNORE INTO trimmed SELECT event_id, received {which} AND received >= ?",
            (user_id, last - self.keep, forget_before),
        )
        connection.execute(f"DELETE {which}", (user_id, last - self.keep))
        connection.execute(
            "DELETE FROM trimmed WHERE event_id IN (SELECT event_id FROM trimmed WHERE received < ? ORDER BY received LIMIT ?)",
            (forget_before, MOST_FORGOTTEN),
        )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """The writing connection in a transaction that is durable after the block, or undone if the block or the end fails."""
        with self._writing, self._translating():
            self._check_open()
            if self._damage is not None:
                raise StateUnavailable(*self._damage.args)
            if self._file_identity() != self._identity:
                raise StateUnavailable(
                    f"{self.path} is no longer the file that was opened: it was removed or replaced. Restart."
                )
            connection = self._writer
            self._begin(connection)
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Begin to write, after other processes that do."""
        until = time.monotonic() + self.wait_s
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
            time.sleep(POLL_S)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection of this thread's own for the block."""
        with self._translating():
            self._check_open()
            try:
                connection = self._readers.pop()
            except IndexError:
                connection = sqlite_file.opened(self.path, wait_s=self.wait_s)
            try:
                yield connection
            finally:
                self._readers.append(connection)
                if self._is_closed:  # meanwhile
                    self._close_readers()

    def _close_readers(self) -> None:
        while self._readers:
            with contextlib.suppress(IndexError):  # another thread took it
                self._readers.pop().close()

    def _check_open(self) -> None:
        if self._is_closed:
            raise StateUnavailable(f"{self.path} was closed.")

    def _file_identity(self) -> tuple[int, int]:
        status = self.path.stat()
        return status.st_dev, status.st_ino

    @contextlib.contextmanager
    def _translating(self) -> Iterator[None]:
        """Let SQLite's and the system's errors out as ours; after damage nothing more is written."""
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
            translated = sqlite_file.translated(error, self.path)
            if sqlite_file.is_damage(error) and isinstance(translated, StateUnavailable):
                self._damage = translated
            raise translated from error
