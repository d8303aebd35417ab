"""Workers, threads and processes that use one store at once, whatever keeps it, lose nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from tests.contracts.states.stores import Store, event, ids

import shortlist
from shortlist.service.state import State

SOURCE = Path(shortlist.__file__).resolve().parents[1]


def test_one_worker_sees_at_once_what_another_stored(store: Store) -> None:
    one, other = store.open(), store.open()
    for number in range(20):
        writer, reader = (one, other) if number % 2 else (other, one)
        writer.append_events([event(str(number))])
        assert ids(reader)[-1] == str(number)
        assert writer.change_items([(str(number), {})], received=1.0) == reader.revision() == number + 1
    assert ids(one) == ids(other) == [str(number) for number in range(20)]


def test_threads_that_write_and_read_at_once_lose_nothing(state: State) -> None:
    threads, each = 8, 60
    problems: list[BaseException] = []
    stored = Counter[str]()
    is_done = threading.Event()

    def write(thread: int) -> None:
        try:
            for number in range(each):
                batch = [event(f"{thread}-{number}-{part}", f"u{part}") for part in range(number % 3 + 1)]
                again = [event(f"shared-{number}", "shared")]  # by every thread
                outcome = state.append_events(batch + again)
                stored.update(stored=outcome.stored, duplicates=outcome.duplicates)
                assert f"{thread}-{number}-0" in ids(state, "u0")
        except BaseException as error:
            problems.append(error)

    def read() -> None:
        try:
            while not is_done.is_set():
                seen = ids(state, "u0")
                for thread in range(threads):
                    numbers = [int(name.split("-")[1]) for name in seen if name.startswith(f"{thread}-")]
                    assert numbers == list(range(len(numbers)))
        except BaseException as error:
            problems.append(error)

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(thread,)) for thread in range(threads)]
    for one in (reader, *writers):
        one.start()
    for one in writers:
        one.join()
    is_done.set()
    reader.join()
    assert problems == []
    assert len(ids(state, "u0")) == threads * each
    assert ids(state, "shared") == [f"shared-{number}" for number in range(each)]
    assert stored["stored"] == sum(len(ids(state, f"u{part}")) for part in range(3)) + each
    assert stored["duplicates"] == (threads - 1) * each


def test_threads_that_change_items_at_once_get_revisions_of_their_own(state: State) -> None:
    revisions: list[int] = []

    def change(thread: int) -> None:
        for number in range(25):
            revisions.append(state.change_items([(f"{thread}-{number}", {})], received=1.0))

    threads = [threading.Thread(target=change, args=(thread,)) for thread in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(revisions) == list(range(1, 101))
    assert [found.revision for found in state.item_changes(after=0)] == list(range(1, 101))


WRITER = """
import json, sys
from shortlist.service.state import StoredEvent
{making}
name, count = sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
last = 0
for number in range(count):
    found = state.append_events([StoredEvent(f"{{name}}-{{number}}", "ann", "tea", None, 1.0),
                                 StoredEvent(f"both-{{number}}", "both", "tea", None, 1.0)])
    assert found.stored + found.duplicates == 2
    revision = state.change_items([(f"{{name}}-{{number}}", {{"n": number}})], received=1.0)
    assert last < revision <= state.revision()
    last = revision
state.close()
"""
MAKING = {
    "sqlite": "from shortlist.service.state.sqlite import SQLiteState\nstate = SQLiteState(sys.argv[1][10:], wait_s=20)",
    "redis": "from shortlist.service.state.redis import RedisState\nstate = RedisState(sys.argv[1], wait_s=20, read_wait_s=20)",
}


def test_processes_that_write_at_once_lose_nothing(store: Store) -> None:
    count = 150
    code = WRITER.format(making=MAKING[store.url.partition(":")[0]])
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, store.url, name, str(count)],
            env=os.environ | {"PYTHONPATH": str(SOURCE)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two", "three")
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.communicate("go\n", timeout=60)
        assert writer.returncode == 0
    state = store.open()
    stored = ids(state)
    assert len(stored) == 3 * count
    for name in ("one", "two", "three"):
        assert [one for one in stored if one.startswith(f"{name}-")] == [f"{name}-{number}" for number in range(count)]
    assert ids(state, "both") == [f"both-{number}" for number in range(count)]
    assert [change.revision for change in state.item_changes(after=0)] == list(range(1, 3 * count + 1))
