"""Events for tests that harm a store of the service's state, and what the store has of them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any

from running import LONG, SOURCE

from shortlist.service.state import StoredEvent

ROUNDS = 100 if LONG else 5
ENVIRONMENT = os.environ | {"PYTHONPATH": str(SOURCE)}


def event(name: str, user: str = "ann") -> StoredEvent:
    return StoredEvent(name, user, "tea", None, 1e9)


def ids(state: Any, user: str = "ann", *, limit: int = 1_000) -> list[str]:
    return [found.event_id for found in state.recent_events(user, limit=limit)]


def is_intact(path: Path) -> bool:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])
