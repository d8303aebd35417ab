"""Calls of many threads into few transactions: who comes while one is written waits, and all who wait share the next.

A durable transaction costs a flush of the disk whether it holds one event or a hundred. No thread runs behind this: the first of
those who wait writes for all of them. A call that comes alone writes at once and waits for nobody.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from shortlist.errors import StateError, StateUnavailable
from shortlist.service.state.contract import Appended, StoredEvent

MOST_EVENTS = 2_000  # of one transaction, unless one call alone has more: the next group should not wait long

Events = Sequence[StoredEvent]


class _Call:
    """One caller's events; ``woken`` is held until they are stored, or until it is this caller's turn to write."""

    __slots__ = ("error", "events", "outcome", "woken")

    def __init__(self, events: Events) -> None:
        self.events = events
        self.outcome: Appended | None = None
        self.error: Exception | None = None
        self.woken = threading.Lock()
        self.woken.acquire()


class Grouping:
    """Hands the events of concurrent callers to ``write`` in groups, one group at a time, in the order of the calls.

    ``write`` stores all events of a group or raises; it gives each call its outcome, in order.
    """

    def __init__(self, write: Callable[[Sequence[Events]], Sequence[Appended]]) -> None:
        self._write = write
        self._lock = threading.Lock()  # held for moments only, never while writing
        self._waiting: deque[_Call] = deque()
        self._is_writing = False

    def append(self, events: Events) -> Appended:
        """Have ``events`` written, alone or with others'; their outcome, or the error of the group they were in."""
        call = _Call(events)
        with self._lock:
            self._waiting.append(call)
            is_first, self._is_writing = not self._is_writing, True
        if not is_first:
            call.woken.acquire()
        if call.outcome is None and call.error is None:
            self._write_group()
        if call.outcome is not None:
            return call.outcome
        assert call.error is not None
        # Each caller raises an error of its own: threads that raise the same one mix up its traceback.
        raise type(call.error)(*call.error.args) if isinstance(call.error, StateError) else call.error

    def _write_group(self) -> None:
        """Write for all who wait, the first of whom calls this; then wake them, and whoever is to write next."""
        group = self._next_group()
        try:
            outcomes = self._write([call.events for call in group])
            for call, outcome in zip(group, outcomes, strict=True):
                call.outcome = outcome
        except Exception as error:
            for call in group:
                call.error = error
        finally:
            for call in group:
                if call.outcome is None and call.error is None:
                    call.error = StateUnavailable("Storing was interrupted. Send the same events again.")
            with self._lock:
                following = self._waiting[0] if self._waiting else None
                self._is_writing = following is not None
            if following is not None:
                following.woken.release()
            for call in group[1:]:
                call.woken.release()

    def _next_group(self) -> list[_Call]:
        with self._lock:
            group = [self._waiting.popleft()]
            num_events = len(group[0].events)
            while self._waiting and num_events + len(self._waiting[0].events) <= MOST_EVENTS:
                group.append(self._waiting.popleft())
                num_events += len(group[-1].events)
        return group
