"""A store in a file that has no more room says so, loses nothing, and goes on when there is some."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from storing import ENVIRONMENT, is_intact

FULL = """
import contextlib, resource, sys
from pathlib import Path
from shortlist.errors import StateFull, StateUnavailable
from shortlist.service.state import StoredEvent
from shortlist.service.state.sqlite import SQLiteState

folder, how = Path(sys.argv[1]), sys.argv[2]
state = SQLiteState(folder / "state.db", keep=10**6)
filler = folder / "filler"

def fill():
    if how == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    else:
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

def make_room():
    if how == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        filler.unlink()

stored, number = [], 0
def write(size=1):
    global number
    names = [f"{number + part}" for part in range(size)]
    number += size
    state.append_events([StoredEvent(name, "ann", "x" * 500, None, 1.0) for name in names])
    stored.extend(names)
def check_reading():
    assert [event.event_id for event in state.recent_events("ann", limit=10**6)] == stored
    assert [change.item_id for change in state.item_changes(after=0)] == ["tea"]

state.change_items([("tea", {})], received=1.0)
for _ in range(100):
    write()
for times in range(3):
    fill()
    errors = 0
    for size in (1, 1, 3, 1, 40, 1) * 1_000:
        try:
            write(size)
        except StateFull as error:
            assert "no room" in str(error), error
            check_reading()
            errors += 1
            if errors == 12:
                break
    assert errors == 12, errors
    try:
        state.change_items([(f"more {number}", {"text": "x" * 500_000}) for number in range(5)], received=1.0)
        raise AssertionError("stored beyond the limit")
    except StateFull:
        pass
    try:
        for _ in range(50):
            state.check()
    except StateUnavailable as error:
        assert "no room" in str(error), error
    check_reading()
    make_room()
    for _ in range(20):
        write()
    state.check()
    check_reading()
state.close()
again = SQLiteState(folder / "state.db", keep=10**6)
assert [event.event_id for event in again.recent_events("ann", limit=10**6)] == stored
again.close()
print("all kept", len(stored))
"""


def test_a_file_that_may_not_grow_is_full_and_goes_on_when_it_may(tmp_path: Path) -> None:
    """By a limit on the size of files, which fails as a quota does."""
    command = [sys.executable, "-c", FULL, str(tmp_path), "limit"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("all kept"), done.stderr
    assert is_intact(tmp_path / "state.db")


def test_a_full_disk_is_full_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """A small file system in memory, which only the process that is tested sees."""
    mounting = "mount -t tmpfs -o size=16m tmpfs"
    unshare = ["unshare", "--mount", "sh", "-c"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*unshare, f"{mounting} {tmp_path}"], capture_output=True).returncode
    ):
        pytest.skip("no file system may be mounted here")
    script = f'{mounting} "$1" && exec "$2" -c "$3" "$1" disk'
    command = [*unshare, script, "sh", str(tmp_path), sys.executable, FULL]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("all kept"), done.stderr
