"""Processes that write to one store in a file: one that is killed loses nothing, and several share it."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from storing import ENVIRONMENT, ROUNDS, event, ids, is_intact

from shortlist.service.state import Appended
from shortlist.service.state.sqlite import SQLiteState


def test_a_writing_process_that_is_killed_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    path, threads, keep = tmp_path / "state.db", 3, 50
    draw = random.Random(0)
    items: dict[str, int] = {}
    num_acknowledged = 0
    for this_round in range(ROUNDS):
        command = [sys.executable, str(Path(__file__).with_name("writer.py")), str(path), str(this_round)]
        writer = subprocess.Popen(
            [*command, str(threads), str(keep)], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        lines: list[str] = []
        # Read beside: a full pipe would hold the writer up.
        reader = threading.Thread(target=lambda out=writer.stdout, into=lines: into.extend(out))
        reader.start()
        until = time.monotonic() + 60
        while not lines and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.3))
        writer.send_signal(signal.SIGKILL)
        assert writer.wait(timeout=20) == -signal.SIGKILL
        reader.join()
        writer.stdout.close()
        assert lines[0] == "ready\n"
        acknowledged = [line.strip() for line in lines[1:] if line.endswith("\n") and not line.startswith("item")]
        items |= {line[5:].split()[0]: int(line.split()[2]) for line in lines[1:] if line.startswith("item")}
        num_acknowledged += len(acknowledged)

        state = SQLiteState(path, keep=keep)
        for thread in range(threads):
            of_thread = [name for name in acknowledged if name.startswith(f"{this_round}.{thread}.")]
            users = range(len(of_thread) // keep + 1)
            stored = [name for user in users for name in ids(state, f"{this_round}.{thread}.{user}")]
            # One more may have been stored whose acknowledgement was not sent or printed any more.
            assert stored[: len(of_thread)] == of_thread
            assert len(stored) - len(of_thread) <= 1
        hot = ids(state, "hot")
        for thread in range(threads):
            numbers = [int(name.split(".")[3]) for name in hot if name.startswith(f"hot.{this_round}.{thread}.")]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
        again = [event(f"hot.{name}", "hot") for name in acknowledged]
        assert state.append_events(again) == Appended(0, len(again))
        assert state.append_events([event(f"after {this_round}", "after")]) == Appended(1, 0)
        changes = {change.item_id.removeprefix("item "): change.revision for change in state.item_changes(after=0)}
        assert items.items() <= changes.items()
        state.close()
        assert is_intact(path)
    state = SQLiteState(path, keep=keep)
    assert ids(state, "after") == [f"after {this_round}" for this_round in range(ROUNDS)][-keep:]
    state.close()
    assert num_acknowledged > 0
    print(f"{ROUNDS} kills, {num_acknowledged} events acknowledged, none lost")


OPENER = """
import sys
from shortlist.service.state import StoredEvent
from shortlist.service.state.sqlite import SQLiteState
print("ready", flush=True)
sys.stdin.readline()
for number in range(25):
    state = SQLiteState(sys.argv[1], wait_s=20)
    state.append_events([StoredEvent(f"{sys.argv[2]}-{number}", "ann", "tea", None, 1.0)])
    state.close()
"""


def test_processes_that_make_and_open_and_close_the_same_store_at_once_share_it(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    command = [sys.executable, "-c", OPENER, str(path)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": ENVIRONMENT}
    openers = [subprocess.Popen([*command, str(number)], **pipes) for number in range(4)]
    for opener in openers:
        assert opener.stdout is not None
        assert opener.stdout.readline() == "ready\n"
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.write("go\n")
        opener.stdin.flush()
    for opener in openers:
        opener.communicate(timeout=60)
    assert [opener.returncode for opener in openers] == [0] * 4
    state = SQLiteState(path)
    stored = ids(state)
    for number in range(4):
        assert [name for name in stored if name.startswith(f"{number}-")] == [f"{number}-{n}" for n in range(25)]
    state.close()
    assert list(tmp_path.iterdir()) == [path]
