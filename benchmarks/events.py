"""How many durable events a second the service's state stores, and how fast it reads a user's last 50.

    python benchmarks/events.py [--folder DIR] [--repeats N] [--seconds S]

The store lies in a new folder under ``--folder``: on the disk to be measured. All figures depend on how fast that disk flushes, so
two come first: writing and flushing 4 KB, and a bare loop of single transactions in SQLite (WAL, ``synchronous=FULL``) that
does nothing else. Each figure is the median of ``--repeats`` runs. Redis is measured where a server is on PATH, with
``appendfsync always``. Writes ``benchmarks/results/events.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import shutil
import socket
import sqlite3
import statistics
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from shortlist.machine import facts
from shortlist.service.state import State, StoredEvent, open_state

RESULT = Path(__file__).parent / "results" / "events.json"
TARGETS = {"one writer, batches of 100": 5_000, "32 threads, single events": 3_000}  # events/s
USERS, ITEMS = 20_000, 100_000
READ_EVENTS = 1_000_000  # in the store that is read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        results: dict[str, Any] = {"bare": bare(Path(folder), arguments.repeats, arguments.seconds)}
        results["sqlite"] = stored(f"sqlite:///{folder}/state.db", arguments.repeats, arguments.seconds)
        results["sqlite"] |= read(f"sqlite:///{folder}/read.db", arguments.repeats)
        with redis_server(Path(folder)) as url:
            if url is not None:
                results["redis"] = stored(url, arguments.repeats, arguments.seconds) | read(url, arguments.repeats)
    reached = {name: results["sqlite"][name]["events_per_s"] >= target for name, target in TARGETS.items()}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(
        json.dumps({"machine": facts(), "targets": TARGETS, "reached": reached, "results": results}, indent=2) + "\n"
    )
    for kind, figures in results.items():
        for name, figure in figures.items():
            print(f"{kind}: {name}: {figure}")
    print(f"targets {TARGETS}: {reached}; wrote {RESULT}")


def median(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(run[name] for run in runs), 1) for name in runs[0]}


def timed(call: Callable[[], object], *, seconds: float, events: int = 1) -> dict[str, float]:
    """Repeat ``call``, which stores ``events`` events, for some seconds."""
    times = []
    begun = time.perf_counter()
    while (start := time.perf_counter()) - begun < seconds:
        call()
        times.append(time.perf_counter() - start)
    return {"events_per_s": len(times) * events / (time.perf_counter() - begun), **latencies(times)}


def latencies(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        name: 1e6 * ordered[int(share * (len(ordered) - 1))]
        for name, share in (("p50_us", 0.5), ("p99_us", 0.99), ("p99.9_us", 0.999))
    }


def bare(folder: Path, repeats: int, seconds: float) -> dict[str, dict[str, float]]:
    """The disk, and SQLite with nothing around it."""

    def flush() -> None:
        file.write(bytes(4_096))
        os.fdatasync(file.fileno())

    def insert() -> None:
        connection.execute("BEGIN IMMEDIATE")
        row = (
            f"u{random.randrange(USERS)}",
            uuid.uuid4().hex,
            f"i{random.randrange(ITEMS)}",
            1_700_000_000,
            time.time(),
        )
        connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", row)
        connection.execute("COMMIT")

    with (folder / "flushed").open("wb", buffering=0) as file:
        flushes = [timed(flush, seconds=seconds / 2) for _ in range(repeats)]
    with contextlib.closing(sqlite3.connect(folder / "bare.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE events (user_id, event_id, item_id, timestamp, received)")
        inserts = [timed(insert, seconds=seconds) for _ in range(repeats)]
    return {"4 KB written and flushed": median(flushes), "a loop of single transactions": median(inserts)}


def new_event() -> StoredEvent:
    user, item = f"u{random.randrange(USERS)}", f"i{random.randrange(ITEMS)}"
    return StoredEvent(uuid.uuid4().hex, user, item, 1_700_000_000, time.time())


def stored(url: str, repeats: int, seconds: float) -> dict[str, dict[str, float]]:
    """Rates of storing: by one caller, by many threads, by two processes, in batches; and reading right after storing."""
    state = open_state(url)
    found: dict[str, dict[str, float]] = {}

    def effect() -> None:
        event = new_event()
        state.append_events([event])
        assert state.recent_events(event.user_id, limit=50)[-1] == event

    measured: dict[str, Callable[[], dict[str, float]]] = {
        "one thread, single events": lambda: timed(lambda: state.append_events([new_event()]), seconds=seconds),
        "one thread, stored and then read": lambda: timed(effect, seconds=seconds),
        "8 threads, single events": lambda: by_threads(state, 8, seconds),
        "32 threads, single events": lambda: by_threads(state, 32, seconds),
        "2 processes of 8 threads, single events": lambda: by_processes(url, 2, 8, seconds),
        "one writer, batches of 100": lambda: by_batches(state, 100, seconds),
        "one writer, batches of 1000": lambda: by_batches(state, 1_000, seconds),
    }
    for name, measure in measured.items():
        found[name] = median([measure() for _ in range(repeats)])
    state.close()
    return found


def by_batches(state: State, size: int, seconds: float) -> dict[str, float]:
    return timed(lambda: state.append_events([new_event() for _ in range(size)]), seconds=seconds, events=size)


def by_threads(state: State, threads: int, seconds: float) -> dict[str, float]:
    times: list[float] = []
    until = time.perf_counter() + seconds

    def run() -> None:
        while (start := time.perf_counter()) < until:
            state.append_events([new_event()])
            times.append(time.perf_counter() - start)

    running = [threading.Thread(target=run) for _ in range(threads)]
    begun = time.perf_counter()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return {"events_per_s": len(times) / (time.perf_counter() - begun), **latencies(times)}


def by_processes(url: str, processes: int, threads: int, seconds: float) -> dict[str, float]:
    """Rates add up; of the latencies the worst process's."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(processes), context.SimpleQueue()
    running = [context.Process(target=worker, args=(url, threads, seconds, barrier, answers)) for _ in range(processes)]
    for process in running:
        process.start()
    figures = [answers.get() for _ in running]
    for process in running:
        process.join()
    return {name: (sum if name == "events_per_s" else max)(figure[name] for figure in figures) for name in figures[0]}


def worker(url: str, threads: int, seconds: float, barrier: Any, answers: Any) -> None:
    state = open_state(url)
    barrier.wait()
    answers.put(by_threads(state, threads, seconds))
    state.close()


def read(url: str, repeats: int) -> dict[str, dict[str, float]]:
    """Reading from a store with a million events: alone, while another thread writes, and what workers poll."""
    state = open_state(url)
    for _ in range(READ_EVENTS // 1_000):
        state.append_events([new_event() for _ in range(1_000)])
    users = [f"u{random.randrange(USERS)}" for _ in range(5_000)]
    is_done = threading.Event()

    def reads() -> dict[str, float]:
        times = []
        for user in users:
            start = time.perf_counter()
            events = state.recent_events(user, limit=50)
            times.append(time.perf_counter() - start)
            assert len(events) > 10
        return {"mean_us": 1e6 * statistics.mean(times), **latencies(times)}

    def poll() -> dict[str, float]:
        return timed(state.revision, seconds=0.2)

    def write() -> None:
        while not is_done.wait(0.002):
            state.append_events([new_event()])

    found = {"the last 50 of a user": median([reads() for _ in range(repeats)])}
    writer = threading.Thread(target=write)
    writer.start()
    found["the last 50 of a user, with some 400 events/s stored beside"] = median([reads() for _ in range(repeats)])
    is_done.set()
    writer.join()
    polled = median([poll() for _ in range(repeats)])
    found["the revision"] = {name: value for name, value in polled.items() if name != "events_per_s"}
    state.close()
    return found


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str | None]:
    """The address of a server of our own, if there is one to be had."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        yield None
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", *settings], stdout=subprocess.DEVNULL
    )
    try:
        time.sleep(1)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
