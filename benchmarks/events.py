"""How many durable events a second the service's state stores, and how fast it reads a user's last 50.

    python benchmarks/events.py [--folder DIR] [--rounds N] [--seconds S]

The store lies in a new folder under ``--folder``: on the disk to be measured. All figures depend on how fast that disk flushes, so
two come first: writing and flushing 4 KB, and a bare loop of single transactions in SQLite (WAL, ``synchronous=FULL``) that
does nothing else. In each round everything is measured once for ``--seconds``, so that figures of one round compare; what is
written is the median of the rounds and the best of them. Redis is measured where a server is on PATH, with ``appendfsync always``. Writes ``benchmarks/results/events.json``.
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
TARGETS = {"SQLite: one writer, batches of 100": 5_000, "SQLite: 32 threads, single events": 3_000}  # events/s
USERS, ITEMS = 6_000, 100_000
STORED = 300_000  # events that are there before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    arguments = parser.parse_args()
    loads = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name, redis_server(Path(name)) as redis_url:
        folder = Path(name)
        measured = bare(folder, arguments.seconds)
        for kind, url in {"SQLite": f"sqlite:///{folder}/state.db", "Redis": redis_url}.items():
            if url is not None:
                measured |= {
                    f"{kind}: {name}": measure for name, measure in measurements(url, arguments.seconds).items()
                }
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in measured}
        for _ in range(arguments.rounds):
            for name, measure in measured.items():
                runs[name].append(measure())
            loads.append(os.getloadavg()[0])
    results = {name: {"median": median(found), "best": rounded(best(found))} for name, found in runs.items()}
    reached = {
        name: {which: results[name][which]["events_per_s"] >= target for which in ("median", "best")}
        for name, target in TARGETS.items()
    }
    facts_here = {
        **facts(),
        "sqlite": sqlite3.sqlite_version,
        "load_average": rounded({"median": statistics.median(loads)}),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(
        json.dumps({"machine": facts_here, "targets": TARGETS, "reached": reached, "results": results}, indent=2) + "\n"
    )
    for name, found in results.items():
        print(f"{name}: {found}")
    print(f"targets {TARGETS}: {reached}; wrote {RESULT}")


def rounded(run: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 1) for name, value in run.items()}


def median(runs: list[dict[str, float]]) -> dict[str, float]:
    return rounded({name: statistics.median(run[name] for run in runs) for name in runs[0]})


def best(runs: list[dict[str, float]]) -> dict[str, float]:
    """The whole run that stored most, or that answered fastest."""
    return max(runs, key=lambda run: run.get("events_per_s", -run["p50_us"]))


def timed(call: Callable[[], object], *, seconds: float, events: int = 1) -> dict[str, float]:
    """Repeat ``call``, which stores ``events`` events, for some seconds."""
    times = []
    begun, begun_cpu = time.perf_counter(), time.process_time()
    while (start := time.perf_counter()) - begun < seconds:
        call()
        times.append(time.perf_counter() - start)
    return figures(times, len(times) * events, begun=begun, begun_cpu=begun_cpu)


def figures(times: list[float], events: int, *, begun: float, begun_cpu: float) -> dict[str, float]:
    """The processor time is that of this process alone."""
    seconds, cpu_s = time.perf_counter() - begun, time.process_time() - begun_cpu
    return {"events_per_s": events / seconds, "cpu_us_per_event": 1e6 * cpu_s / events, **latencies(times)}


def latencies(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        name: 1e6 * ordered[int(share * (len(ordered) - 1))]
        for name, share in (("p50_us", 0.5), ("p99_us", 0.99), ("p99.9_us", 0.999))
    }


Measure = Callable[[], dict[str, float]]


def bare(folder: Path, seconds: float) -> dict[str, Measure]:
    """The disk, and SQLite with nothing around it."""
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE events (user_id, event_id, item_id, timestamp, received)")
    file = (folder / "flushed").open("wb", buffering=0)

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

    return {
        "4 KB written and flushed": lambda: timed(flush, seconds=seconds),
        "a bare loop of single transactions": lambda: timed(insert, seconds=seconds),
    }


def new_event() -> StoredEvent:
    user, item = f"u{random.randrange(USERS)}", f"i{random.randrange(ITEMS)}"
    return StoredEvent(uuid.uuid4().hex, user, item, 1_700_000_000, time.time())


def measurements(url: str, seconds: float) -> dict[str, Measure]:
    """Storing, reading, and reading right after storing, in a store that has 300,000 events already."""
    state = open_state(url)
    for _ in range(STORED // 1_000):
        state.append_events([new_event() for _ in range(1_000)])

    def effect() -> None:
        event = new_event()
        state.append_events([event])
        assert state.recent_events(event.user_id, limit=50)[-1] == event

    return {
        "one thread, single events": lambda: timed(lambda: state.append_events([new_event()]), seconds=seconds),
        "one thread, an event stored and then read": lambda: timed(effect, seconds=seconds),
        "8 threads, single events": lambda: by_threads(state, 8, seconds),
        "32 threads, single events": lambda: by_threads(state, 32, seconds),
        "2 processes of 8 threads, single events": lambda: by_processes(url, 2, 8, seconds),
        "one writer, batches of 100": lambda: by_batches(state, 100, seconds),
        "one writer, batches of 1000": lambda: by_batches(state, 1_000, seconds),
        "the last 50 of a user": lambda: reading(state, seconds),
        "the last 50 of a user, while a thread stores": lambda: reading_beside(state, seconds),
        "the revision": lambda: without_rate(timed(state.revision, seconds=seconds / 4)),
    }


def without_rate(run: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in run.items() if name.endswith("_us")}


def reading(state: State, seconds: float) -> dict[str, float]:
    def read() -> None:
        assert len(state.recent_events(f"u{random.randrange(USERS)}", limit=50)) > 10

    return without_rate(timed(read, seconds=seconds))


def reading_beside(state: State, seconds: float) -> dict[str, float]:
    """An event is stored every 2 ms or so meanwhile."""
    is_done = threading.Event()

    def write() -> None:
        while not is_done.wait(0.002):
            state.append_events([new_event()])

    writer = threading.Thread(target=write)
    writer.start()
    found = reading(state, seconds)
    is_done.set()
    writer.join()
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
    begun, begun_cpu = time.perf_counter(), time.process_time()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return figures(times, len(times), begun=begun, begun_cpu=begun_cpu)


def by_processes(url: str, processes: int, threads: int, seconds: float) -> dict[str, float]:
    """Rates add up; of the latencies the worst process's."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(processes), context.SimpleQueue()
    running = [context.Process(target=worker, args=(url, threads, seconds, barrier, answers)) for _ in range(processes)]
    for process in running:
        process.start()
    found = [answers.get() for _ in running]
    for process in running:
        process.join()
    for run in found:
        if isinstance(run, Exception):
            raise run
    return {name: (sum if name == "events_per_s" else max)(run[name] for run in found) for name in found[0]}


def worker(url: str, threads: int, seconds: float, barrier: Any, answers: Any) -> None:
    try:
        state = open_state(url)
        barrier.wait(timeout=120)
        answers.put(by_threads(state, threads, seconds))
        state.close()
    except Exception as error:
        barrier.abort()  # the others wait for nothing
        answers.put(error)


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
