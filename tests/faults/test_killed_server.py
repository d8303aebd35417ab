"""A service that is killed while it stores events has stored all that it acknowledged."""

from __future__ import annotations

import contextlib
import http.client
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from running import LONG, Client, Service, Threads

from shortlist.service.state.sqlite import SQLiteState

ROUNDS = 100 if LONG else 3
THREADS = 4
EVENTS = 50  # of a user


class Writing(Threads):
    """Threads that post events one by one, each of users of its own, and what was acknowledged: (user, event) in order."""

    def __init__(self, port: int, this_round: int) -> None:
        super().__init__(self._write, THREADS)
        self.acknowledged: list[list[tuple[str, str]]] = [[] for _ in range(THREADS)]
        self.problems: list[str] = []
        self._port, self._round = port, this_round

    def _write(self, thread: int) -> None:
        with contextlib.closing(Client(self._port)) as client:
            number = 0
            while not self.stopped.is_set():
                user, event = f"{self._round}.{thread}.{number // EVENTS}", f"{self._round}.{thread}.{number}"
                body = {"events": [{"user_id": user, "item_id": f"i{number % EVENTS:04d}", "event_id": event}]}
                try:
                    status, answer = client.post("/events", body)
                except (OSError, http.client.HTTPException):
                    return  # it was killed
                if (status, answer.get("stored")) != (200, 1):
                    self.problems.append(f"{status} {answer}")
                    return
                self.acknowledged[thread].append((user, event))
                number += 1


def test_a_service_that_is_killed_while_it_stores_events_has_all_that_it_acknowledged(
    bundles: tuple[Path, Path], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    draw, count = random.Random(0), 0
    for this_round in range(ROUNDS):
        service = Service(bundles[0], tmp_path)
        service.start()
        with Writing(service.port, this_round) as writing:
            until = time.monotonic() + 60
            while not all(writing.acknowledged) and not writing.problems:
                assert time.monotonic() < until
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 0.5))
            service.kill()
        assert writing.problems == []
        with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        state = SQLiteState(tmp_path / "state.db")
        for of_thread in writing.acknowledged:
            count += len(of_thread)
            for user in dict(of_thread):
                wanted = [event for owner, event in of_thread if owner == user]
                stored = [event.event_id for event in state.recent_events(user, limit=EVENTS)]
                assert stored[: len(wanted)] == wanted
                assert len(stored) <= len(wanted) + 1  # one may have been stored, and its acknowledgement not sent
        state.close()
    service = Service(bundles[0], tmp_path)
    service.start()
    try:  # and what is stored is answered with
        user = writing.acknowledged[0][-1][0]
        met = {f"i{number % EVENTS:04d}" for number, (owner, _) in enumerate(writing.acknowledged[0]) if owner == user}
        with contextlib.closing(Client(service.port)) as client:
            status, answer = client.post("/recommend", {"user_id": user, "k": 200})
        assert (status, answer["source"]) == (200, "session")
        assert met.isdisjoint(item["item_id"] for item in answer["items"])
    finally:
        service.stop()
    assert service.failures() == []
    record_property("kills", ROUNDS)
    record_property("acknowledged", count)
