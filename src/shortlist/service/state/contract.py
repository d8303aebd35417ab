"""What the service's state promises whatever keeps it, the records that go in and out, and what is refused before storing.

Knows neither SQLite nor Redis.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from shortlist.errors import RequestError

INT64 = 2**63
KEEP = 1_000  # events of a user
IDS_KEPT_S = 7 * 24 * 3600.0

ItemPut = tuple[str, dict[str, Any] | None]  # an item's id and its row; None deletes it


class StoredEvent(msgspec.Struct, frozen=True):
    """One event of one user.

    ``event_id`` is unique over the whole store; whoever stores an event without one makes it. Ids are text: ``"7"`` and
    ``7`` are the same user. ``timestamp`` is what the client states, in seconds since 1970; ``received`` is the time of
    storing by the server's clock. Neither decides the order: that is the order of storing.
    """

    event_id: str
    user_id: str
    item_id: str
    timestamp: int | None
    received: float


class ItemChange(msgspec.Struct, frozen=True):
    """An item that was put (``columns``: its row of the items table, as JSON values) or deleted (None).

    ``revision`` numbers all changes 1, 2, 3 … in the order in which they hold.
    """

    revision: int
    item_id: str
    columns: dict[str, Any] | None
    received: float


class Appended(msgspec.Struct, frozen=True):
    """How many events a call stored, and how many it left out since their ids were known already."""

    stored: int
    duplicates: int


class State(Protocol):
    """Recent events of users and changes of items, durable, shared by the service's workers.

    All methods may be called from several threads at once. Errors are :class:`~shortlist.errors.StateError` and its
    kinds, and :class:`~shortlist.errors.RequestError` for values that no store could hold.
    """

    def append_events(self, events: Sequence[StoredEvent]) -> Appended:
        """Store all events or, with an error, none; what is stored is durable when this returns.

        An event whose ``event_id`` is known, from earlier or from this call, is counted and left out. So a call whose
        outcome was lost can be repeated.
        """

    def recent_events(self, user_id: str, *, limit: int) -> list[StoredEvent]:
        """The last ``limit`` events that were stored of a user, oldest first; no more than the store keeps."""

    def all_events(self) -> Iterator[StoredEvent]:
        """All events that are kept, user by user, each user's oldest first; of what is stored meanwhile some may be missing."""

    def change_items(self, changes: Sequence[ItemPut], *, received: float) -> int:
        """Put or delete items, all or none, durably; the revision of the last change."""

    def item_changes(self, *, after: int) -> list[ItemChange]:
        """The changes with a revision above ``after``, in order. Of several changes of one item the last is enough."""

    def revision(self) -> int:
        """The revision of the last change of an item, 0 before the first. Cheap: made to be asked many times a second."""

    def check(self) -> None:
        """Read and write; a StateUnavailable where either fails."""

    def close(self) -> None:
        """Let go of files and connections; what comes later is a StateUnavailable. Closing twice is fine."""


def check_events(events: Iterable[StoredEvent]) -> None:
    """Refuse events that could not be stored and read back as they are."""
    for event in events:
        check_text(event.event_id, "An event_id")
        check_text(event.user_id, "A user_id")
        check_text(event.item_id, "An item_id")
        if event.timestamp is not None and not -INT64 <= event.timestamp < INT64:
            raise RequestError(f"A timestamp is {event.timestamp}. It is in seconds since 1970, in 64 bits.")
        check_received(event.received)


def check_text(value: str, what: str) -> None:
    """Text that is no Unicode (half of a surrogate pair) has no bytes to store."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise RequestError(f"{what} is {value!r}, which is no valid Unicode: {error.reason}.") from error


def check_received(received: float) -> None:
    """Refuse a time that is none."""
    if not math.isfinite(received):
        raise ValueError(f"received is {received}. It is the server's time, in seconds since 1970.")


def check_limit(limit: int) -> None:
    """Refuse a negative number of events."""
    if limit < 0:
        raise ValueError(f"limit is {limit}. It is a number of events, 0 or more.")


def encoded_changes(changes: Iterable[ItemPut]) -> list[tuple[str, str | None]]:
    """The changes with rows as JSON text."""
    encoded: list[tuple[str, str | None]] = []
    for item_id, columns in changes:
        check_text(item_id, "An item_id")
        try:
            row = None if columns is None else msgspec.json.encode(columns).decode()
        except (TypeError, ValueError, OverflowError) as error:
            raise RequestError(f"The columns of item {item_id!r} are no JSON values: {error}.") from error
        encoded.append((item_id, row))
    return encoded
