"""A store's file that is damaged is refused or answers, and ends no process."""

from __future__ import annotations

import contextlib
import hashlib
import random
from pathlib import Path

import pytest
from storing import ROUNDS, event

from shortlist.errors import StateError, StateUnavailable
from shortlist.service.state import Appended, ItemChange
from shortlist.service.state.sqlite import SQLiteState


def damaged(content: bytes, draw: random.Random) -> bytes:
    """The file with one kind of damage."""
    changed = bytearray(content)
    kind = draw.randrange(4)
    if kind == 0:  # some bytes, anywhere
        for _ in range(draw.choice([1, 3, 50])):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
    elif kind == 1:  # a piece of noise
        start, size = draw.randrange(len(changed)), draw.choice([16, 512, 4_096])
        changed[start : start + size] = draw.randbytes(len(changed[start : start + size]))
    elif kind == 2:  # a page or two of zeros
        start = draw.randrange(len(changed) // 4_096) * 4_096
        changed[start : start + 8_192] = bytes(len(changed[start : start + 8_192]))
    else:  # cut short
        del changed[draw.randrange(len(changed)) :]
    return bytes(changed)


def test_a_damaged_file_is_refused_or_answers_and_never_ends_the_process(tmp_path: Path) -> None:
    """What is refused when it is opened is left as it is, to the byte."""
    path = tmp_path / "state.db"
    state = SQLiteState(path, keep=40)
    draw = random.Random(1)
    for number in range(60):
        state.append_events([event(f"{number}-{part}", f"u{draw.randrange(30)}") for part in range(40)])
        state.change_items([(f"i{number}", {"number": number, "text": "x" * 300})], received=1.0)
    state.close()
    sound = path.read_bytes()
    num_refused = 0
    for number in range(12 * ROUNDS):
        content = damaged(sound, draw)
        path.write_bytes(content)
        try:
            state = SQLiteState(path, keep=40)
        except StateUnavailable:
            num_refused += 1
            assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(content).digest(), number
        else:
            use(state)
        path.with_name("state.db-wal").unlink(missing_ok=True)
        path.with_name("state.db-shm").unlink(missing_ok=True)
    assert num_refused > 12 * ROUNDS / 3
    print(f"{12 * ROUNDS} damaged files, {num_refused} refused when opened")


def use(state: SQLiteState) -> None:
    """Everything that can be asked: an answer of the right types, or one of our errors."""
    for user in range(30):
        with contextlib.suppress(StateError):
            for found in state.recent_events(f"u{user}", limit=50):
                assert [type(found.event_id), type(found.item_id), type(found.received)] == [str, str, float]
    with contextlib.suppress(StateError):
        assert all(type(change) is ItemChange for change in state.item_changes(after=0))
    for user in range(30):
        with contextlib.suppress(StateError):
            assert state.append_events([event(f"new {user}", f"u{user}")]) == Appended(1, 0)
    with contextlib.suppress(StateError):
        state.change_items([("i1", None)], received=1.0)
    state.close()


def test_after_damage_was_met_nothing_more_is_written(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    state = SQLiteState(path)
    state.append_events([event(str(number), f"u{number}") for number in range(3_000)])
    state.close()
    state = SQLiteState(path)
    content = bytearray(path.read_bytes())
    content[4_096:] = b"\xff" * (len(content) - 4_096)  # all but the tables' names, after the file was looked through
    path.write_bytes(content)
    with pytest.raises(StateUnavailable, match="damaged"):
        state.recent_events("u7", limit=1)
    with pytest.raises(StateUnavailable, match="damaged"):
        state.append_events([event("new")])
    with pytest.raises(StateUnavailable, match="damaged"):
        state.check()
    state.close()
    assert path.read_bytes() == bytes(content)
