"""The service's state in Redis or Valkey, which workers on several machines share.

Each call is one script, which the server runs alone: it is stored whole or not at all, in one order for all machines. Reading and
writing stop while the server cannot be reached, with an error after ``read_wait_s`` or ``wait_s``, and go on by themselves.

How durable an event is when ``append_events`` returns is the server's affair:

- ``appendonly yes`` and ``appendfsync always``: it is on the server's disk. This is what to set.
- ``appendonly yes`` and ``appendfsync everysec``: a server of version 7.2 or later is waited for until it has flushed
  (``WAITAOF``), which takes up to two seconds. An older one cannot tell: a power cut loses its last second or two.
- Without ``appendonly``, a restart loses what came since the last snapshot. A ShortlistWarning says so, once.

Replicas are not waited for: a failover may lose what the old server had not passed on.

An ``event_id`` is known for ``ids_kept_s`` after it was stored, by the server's clock, and each takes about 190 bytes of the server's
memory for that time. Exactly the last ``keep`` events of a user are kept. Set ``maxmemory-policy noeviction`` (the default): a server
that throws keys away forgets events.
"""

from __future__ import annotations

import contextlib
import importlib
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from shortlist.errors import (
    MissingExtraError,
    SettingsError,
    ShortlistWarning,
    StateFull,
    StateUnavailable,
    check_ranges,
)
from shortlist.service.state import redis_scripts
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

# All names share what stands in braces, and with it one place in a cluster, as scripts need.
EVENTS, EVENT_IDS = "{shortlist}:events:", "{shortlist}:event:"
REVISION, CHANGES, ITEMS = "{shortlist}:revision", "{shortlist}:changes", "{shortlist}:items"
CHECKED = "{shortlist}:checked"

PAUSE_S = 1.0  # after the server let a call wait in vain, calls fail at once for so long: whoever asks is not held up each time
PAGE = 1_000  # changes of items, or names of users, in one answer: it holds up everybody else

_encode = msgspec.json.encode
_decode_event = msgspec.json.Decoder(tuple[str, str, int | None, float]).decode
_decode_item = msgspec.json.Decoder(tuple[dict[str, Any] | None, float]).decode


class RedisState:
    """A :class:`~shortlist.service.state.State` on the server at ``url``, which need not be up yet: each call tries anew.

    ``keep`` events of each user, ids of events for ``ids_kept_s`` seconds; ``wait_s`` seconds for the server to store, and
    ``read_wait_s`` for it to answer.
    """

    def __init__(
        self,
        url: str,
        *,
        keep: int = KEEP,
        ids_kept_s: float = IDS_KEPT_S,
        wait_s: float = 2.0,
        read_wait_s: float = 0.25,
    ) -> None:
        self.keep = keep
        self.ids_kept_s = ids_kept_s
        self.wait_s = wait_s
        self.read_wait_s = read_wait_s
        check_ranges(self, whole=("keep",), above_0=("ids_kept_s", "wait_s", "read_wait_s"))
        self._redis = _library()
        self.place = _without_password(url)
        # The server itself is given up first, with an answer; the connection only if there is none.
        self._writing = self._client(url, timeout_s=wait_s + 0.5)
        self._reading = self._client(url, timeout_s=read_wait_s)
        self._grouping = Grouping(self._write_events)
        self._can_wait: bool | None = None  # for the flush of the disk; None: not asked yet
        self._paused_until = 0.0
        self._has_warned = False
        self._is_closed = False

    def append_events(self, events: Sequence[StoredEvent]) -> Appended:
        """Store events by one script, together with those of other threads that wait; how many, and how many were known."""
        check_events(events)
        return self._grouping.append(events) if events else Appended(0, 0)

    def recent_events(self, user_id: str, *, limit: int) -> list[StoredEvent]:
        """The last ``limit`` stored events of a user, at most ``keep``, oldest first."""
        check_text(user_id, "A user_id")
        check_limit(limit)
        if limit == 0:
            return []
        with self._translating():
            rows = self._reading.lrange(EVENTS + user_id, -min(limit, self.keep), -1)
            events = [_decode_event(row) for row in rows]
        return [StoredEvent(event_id, user_id, item_id, timestamp, at) for event_id, item_id, timestamp, at in events]

    def all_events(self) -> Iterator[StoredEvent]:
        """All events by user and the order of storing. A user whose first event comes meanwhile may be missing."""
        with self._translating():
            keys = sorted(set(self._writing.scan_iter(match=f"{EVENTS}*", count=PAGE)))  # one may be told twice
        for key in keys:
            with self._translating():
                user_id = key.decode().removeprefix(EVENTS)
                events = [_decode_event(row) for row in self._writing.lrange(key, -self.keep, -1)]
            yield from (StoredEvent(event_id, user_id, item, at, received) for event_id, item, at, received in events)

    def change_items(self, changes: Sequence[ItemPut], *, received: float) -> int:
        """Put or delete items by one script; the last revision."""
        check_received(received)
        rows = [
            text
            for item_id, row in encoded_changes(changes)
            for text in (item_id, _encode((None if row is None else msgspec.Raw(row.encode()), received)))
        ]
        return int(self._durably(redis_scripts.CHANGE, [REVISION, CHANGES, ITEMS], rows)) if rows else self.revision()

    def item_changes(self, *, after: int) -> list[ItemChange]:
        """Each item's last change, if its revision is above ``after``, by revision; one that changes meanwhile may come twice."""
        found: list[ItemChange] = []
        while True:
            with self._translating():
                rows = self._reading.eval(redis_scripts.CHANGES, 2, CHANGES, ITEMS, after, PAGE)
                for revision, item_id, row in rows:
                    columns, received = _decode_item(row)
                    found.append(ItemChange(int(float(revision)), item_id.decode(), columns, received))
            if len(rows) < PAGE:
                return found
            after = found[-1].revision

    def revision(self) -> int:
        """The revision of the last change of an item, 0 before the first; less than before if the server lost its data."""
        with self._translating():
            found = self._reading.get(REVISION)
        return 0 if found is None else int(found)

    def check(self) -> None:
        """Write, and read."""
        try:
            with self._translating():
                self._writing.set(CHECKED, time.time())
        except StateFull as error:
            raise StateUnavailable(*error.args) from error
        self.revision()

    def close(self) -> None:
        """Close the connections."""
        self._is_closed = True
        for client in (self._writing, self._reading):
            client.close()

    def _write_events(self, group: Sequence[Events]) -> list[Appended]:
        """Store the events of several calls by one script."""
        keys: list[str] = []
        values: list[object] = [max(1, round(self.ids_kept_s)), self.keep]
        for events in group:
            for event in events:
                keys += (EVENT_IDS + event.event_id, EVENTS + event.user_id)
                values.append(_encode((event.event_id, event.item_id, event.timestamp, float(event.received))))
        is_stored = iter(self._durably(redis_scripts.APPEND, keys, values))
        outcomes = []
        for events in group:
            stored = sum(next(is_stored) for _ in events)
            outcomes.append(Appended(stored, len(events) - stored))
        return outcomes

    def _durably(self, script: str, keys: Sequence[str], values: Sequence[object]) -> Any:
        """Run a script, and wait until the server has flushed what it changed, if it can say so; the script's answer."""
        with self._translating():
            if self._can_wait is None:
                self._can_wait = self._ask_what_it_keeps()
            with self._writing.pipeline(transaction=False) as pipe:  # one connection, one journey
                pipe.eval(script, len(keys), *keys, *values)
                if self._can_wait:
                    pipe.execute_command("WAITAOF", 1, 0, round(self.wait_s * 1000))
                answer, *flushed = pipe.execute(raise_on_error=False)  # the library's error would quote all events
            for answered in (answer, *flushed):
                if isinstance(answered, Exception):
                    raise answered
        if flushed and flushed[0][0] < 1:
            raise StateUnavailable(
                f"{self.place} did not flush to its disk within {self.wait_s:g} s. What was sent may be stored or not: send it "
                "again. With appendfsync always it would not have to be waited for."
            )
        return answer

    def _ask_what_it_keeps(self) -> bool:
        """Whether the server tells when its file is flushed; warn if it has no such file."""
        try:
            facts = {**self._writing.info("server"), **self._writing.info("persistence")}
        except self._redis.exceptions.ResponseError:  # it may keep that to itself
            facts = {}
        if not facts.get("aof_enabled") and not self._has_warned:
            self._has_warned = True
            what = (
                "keeps no append-only file: a restart loses events" if facts else "does not say whether it keeps events"
            )
            warnings.warn(
                f"{self.place} {what}. Set appendonly yes, appendfsync always.", ShortlistWarning, stacklevel=2
            )
        version = tuple(int(part) for part in str(facts.get("redis_version", "0.0")).split(".")[:2])
        return bool(facts.get("aof_enabled")) and version >= (7, 2)

    @contextlib.contextmanager
    def _translating(self) -> Iterator[None]:
        """Let the library's and the server's errors out as ours."""
        errors = self._redis.exceptions
        if self._is_closed:
            raise StateUnavailable(f"The connection to {self.place} was closed.")
        if time.monotonic() < self._paused_until:
            raise StateUnavailable(f"{self.place} did not answer in time just now. It is asked again in a second.")
        try:
            yield
        except errors.TimeoutError as error:
            self._paused_until = time.monotonic() + PAUSE_S
            self._can_wait = None  # it may come back as another version, or with other settings
            raise StateUnavailable(f"{self.place} does not answer in time: {error}.") from error
        except errors.ConnectionError as error:
            self._can_wait = None
            raise StateUnavailable(f"{self.place} cannot be reached: {error}") from error
        except errors.RedisError as error:
            self._can_wait = None
            text = str(error)
            if "'maxmemory'" in text or "No space left" in text:
                raise StateFull(f"{self.place} has no room for more; nothing was stored. Its words: {text}") from error
            raise StateUnavailable(f"{self.place} refuses: {text}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StateUnavailable(f"{self.place} holds what Shortlist did not store there: {error}.") from error

    def _client(self, url: str, *, timeout_s: float) -> Any:
        try:
            return self._redis.Redis.from_url(
                url,
                socket_timeout=timeout_s,
                socket_connect_timeout=min(timeout_s, 1.0),
                # Connections that broke meanwhile are replaced when they are taken. A script is not run twice unasked:
                # the second time it would count as duplicates what the first has stored.
                retry=self._redis.retry.Retry(self._redis.backoff.NoBackoff(), 0),
                protocol=2,
            )
        except ValueError as error:
            raise SettingsError(f"{self.place} is no address of a server: {error}. {FORM}") from error


FORM = "Write redis://HOST:PORT/DATABASE, or rediss:// for TLS, with USER:PASSWORD@ before HOST where it wants them."


def _library() -> Any:
    try:
        return importlib.import_module("redis")
    except ImportError as error:
        raise MissingExtraError(
            'A state at redis:// needs redis, which is not installed. Install it with: pip install "shortlist[redis]".'
        ) from error


def _without_password(url: str) -> str:
    """The address, for messages."""
    parts = urlsplit(url)
    if parts.query or parts.fragment or not parts.hostname:
        raise SettingsError(f"An address of a server has a host and no query. {FORM}")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
