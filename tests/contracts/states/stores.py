"""A store of the service's state to open, events to put into it, and what is found in it."""

from __future__ import annotations

from shortlist.service.state import State, StoredEvent

DAY = 24 * 3600.0
ODD_TEXTS = ["7", "", " ", "a b", "ключ", "键", "🫖👩‍🔧", "e\u0301", "é", "\0", "a\0b", "'; DROP TABLE events; --", "%s{}*?[a]\\", "\n\r\t", "x" * 5_000]  # fmt: skip


class Store:
    """One empty store, which can be opened several times, as workers do."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.states: list[State] = []

    def open(self, *, keep: int = 1_000, ids_kept_s: float = 7 * DAY) -> State:
        if self.url.startswith("sqlite"):
            from shortlist.service.state.sqlite import SQLiteState

            state: State = SQLiteState(self.url.removeprefix("sqlite:///"), keep=keep, ids_kept_s=ids_kept_s)
        else:
            from shortlist.service.state.redis import RedisState

            # A machine that is busy with other tests is no reason to fail here.
            state = RedisState(self.url, keep=keep, ids_kept_s=ids_kept_s, wait_s=20, read_wait_s=20)
        self.states.append(state)
        return state


def event(
    name: str, user: str = "ann", *, item: str = "tea", timestamp: int | None = 5, at: float = 1e9
) -> StoredEvent:
    return StoredEvent(name, user, item, timestamp, at)


def ids(state: State, user: str = "ann", *, limit: int = 1_000) -> list[str]:
    return [found.event_id for found in state.recent_events(user, limit=limit)]
