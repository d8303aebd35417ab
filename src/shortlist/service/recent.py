"""A user to the events that have come since the served bundle was made."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence

from shortlist.errors import StateError
from shortlist.service.generation import Generation
from shortlist.service.state import State, StoredEvent
from shortlist.vocabulary import Id

log = logging.getLogger("shortlist.service")

MOST_RECENT = 500  # events of a user
_PAUSE_S = 1.0  # after the store failed


class RecentEvents:
    """Reads them from the store. Where it is down, answers go on without: it is asked again a second later."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._again = 0.0

    def of(self, generation: Generation, user: Id | None) -> tuple[list[tuple[Id, int]], bool]:
        """The user's events that the bundle does not know, oldest first, and whether the store could be read."""
        if user is None:
            return [], True
        if self._again and time.monotonic() < self._again:
            return [], False
        try:
            stored = self._state.recent_events(str(user), limit=MOST_RECENT)
        except StateError as error:
            self._again = time.monotonic() + _PAUSE_S
            log.warning("recent events cannot be read", extra={"why": str(error)})
            return [], False
        self._again = 0.0
        return (_unknown(generation, user, stored) if stored else []), True


def _unknown(generation: Generation, user: Id, stored: list[StoredEvent]) -> list[tuple[Id, int]]:
    """Those of ``stored`` that the bundle's history of the user does not hold.

    With times: what is there at the same time; without: what was reported before the bundle was trained, of users whom it
    knows.
    """
    recommender = generation.recommender
    dataset = recommender.dataset
    found: list[tuple[Id, int]] = [
        (event.item_id, moment) for event, moment in zip(stored, moments(stored), strict=True)
    ]
    index = int(dataset.encoders.users.encode([user])[0])
    first, last = dataset.events.offsets[index : index + 2].tolist()
    if first == last:
        return found
    if dataset.events.times is None:
        trained = recommender.made.trained or 0.0
        return [pair for pair, event in zip(found, stored, strict=True) if event.received > trained]
    known = set(zip(dataset.events.items[first:last].tolist(), dataset.events.times[first:last].tolist(), strict=True))
    indices = dataset.encoders.items.encode([item for item, _ in found]).tolist()
    stated = [int(event.received) if event.timestamp is None else event.timestamp for event in stored]
    return [pair for pair, *own in zip(found, indices, stated, strict=True) if tuple(own) not in known]


def moments(stored: Sequence[StoredEvent]) -> Iterator[int]:
    """When each event was. What came without a time was when it was stored, and never before what was stored earlier.

    So it is the latest, also where the machine's clock has been put back since.
    """
    last = 0
    for event in stored:
        last = max(last, int(event.received))
        yield last if event.timestamp in (None, int(event.received)) else event.timestamp


class Clock:
    """The time in whole seconds since 1970, for what comes without: it never goes back, whatever the machine's does."""

    def __init__(self) -> None:
        self._last, self._lock = 0, threading.Lock()

    def __call__(self) -> int:
        """Now."""
        with self._lock:
            self._last = max(self._last, int(time.time()))
            return self._last
