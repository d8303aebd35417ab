"""An address into the durable state of the service: recent events of users and changes of items.

What every store promises stands in :class:`State` (in short: what was acknowledged is durable, stored whole or not at all,
in the order of storing, once per ``event_id``), what each adds or leaves to the server in :mod:`.sqlite` and :mod:`.redis`.
"""

from __future__ import annotations

from shortlist.errors import SettingsError, StateError, StateFull, StateUnavailable
from shortlist.service.state.contract import KEEP, Appended, ItemChange, State, StoredEvent

__all__ = [
    "Appended",
    "ItemChange",
    "State",
    "StateError",
    "StateFull",
    "StateUnavailable",
    "StoredEvent",
    "open_state",
]

_FORMS = (
    "What there is: sqlite:///relative/path.db, sqlite:////absolute/path.db (three slashes, then the path as it is), "
    "redis://host:port/0, and rediss:// for Redis over TLS."
)


def open_state(url: str, *, keep: int = KEEP) -> State:
    """The store at ``url``, made if it is a file that is not there; it keeps the last ``keep`` events of each user.

    A file that is no store, is damaged or of a newer version is a StateUnavailable, and is left as it is. A Redis server
    need not be up: until it is, each call is a StateUnavailable.

    >>> from tempfile import TemporaryDirectory
    >>> folder = TemporaryDirectory()
    >>> state = open_state(f"sqlite:///{folder.name}/state.db")
    >>> state.append_events([StoredEvent("e1", "ann", "tea", None, 1700000000.0)])
    Appended(stored=1, duplicates=0)
    >>> [event.item_id for event in state.recent_events("ann", limit=50)]
    ['tea']
    >>> state.close(); folder.cleanup()
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/") and rest not in ("/", "/:memory:"):
        from shortlist.service.state.sqlite import SQLiteState

        return SQLiteState(rest[1:], keep=keep)
    if scheme in ("redis", "rediss") and rest:
        from shortlist.service.state.redis import RedisState

        return RedisState(url, keep=keep)
    shown = f"{scheme}{separator}{rest.rpartition('@')[2]}"  # without a password
    raise SettingsError(f"{shown!r} is no address of a state. {_FORMS}")
