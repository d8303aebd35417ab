"""Everything that a service can be asked, for ten minutes: it answers, and takes no more memory at the end than at the beginning."""

from __future__ import annotations

import http.client
import itertools
import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from running import LONG, Client, running

SECONDS = 600.0 if LONG else 8.0
WARM_ROUNDS = 150 if LONG else 8  # requests of each kind, after which all that is bounded has been filled
STORED = 250 if LONG else 0  # thousands of events: as many as SQLite's page cache, of 16 MiB, has room for
RELOAD_S = 60.0 if LONG else 3.0
GROWTH = 0.02  # of the memory of its own
SHORT_GROWTH = 0.06  # in some seconds: what is freed is given back to the system late
THREADS = 3
USERS, OWN = 20, 30  # who have events, and items that come and go

Asked = tuple[str, str, Any, set[int]]  # a method, a path, a body, and the statuses that are fine


def kinds(draw: random.Random) -> list[Callable[[], Asked]]:
    """One of each kind of request, drawn anew at each call."""

    def item() -> str:
        return f"i{draw.randrange(1, 280):04d}"

    def user() -> str:
        return draw.choice([f"u{draw.randrange(1, 1_000):04d}", f"stranger {draw.randrange(10**9)}"])

    def recommend(more: dict[str, Any]) -> Asked:
        return "POST", "/recommend", {"user_id": user(), **more}, {200}

    def events() -> Asked:
        found = [{"user_id": f"u{draw.randrange(USERS):04d}", "item_id": item()} for _ in range(100)]
        return "POST", "/events", {"events": found}, {200}

    def put() -> Asked:
        row = {"category": "tea", "brand": "b", "colour": "red", "price": draw.random() * 50, "release_day": 3}
        more = {"tags": ["red"], "note": "a new thing", "look": [1.0, 0.5], "title": "new"}
        rows = [{"item_id": f"own {draw.randrange(OWN)}", **row, **more}]
        return "PUT", "/items", {"items": rows}, {200}

    return [
        lambda: recommend({}),
        lambda: recommend({"events": [{"item_id": item()}, {"item_id": f"no item {draw.randrange(10**9)}"}]}),
        lambda: recommend({"where": f"price > {draw.random() * 20:.4f}"}),
        lambda: recommend({"items": [item() for _ in range(20)], "exclude": [item()], "k": 5}),
        lambda: recommend({"context": {"device": "tv", "speed": draw.random()}, "diversity": 0.3, "caps": {"brand": 2}}),
        lambda: recommend({"detail": True, "candidates": draw.randrange(10, 60)}),
        lambda: recommend({"user_id": f"u{draw.randrange(USERS):04d}"}),
        lambda: ("POST", "/rank", {"user_id": user(), "items": [item() for _ in range(20)]}, {200}),
        lambda: ("GET", f"/items/{item()}/similar", None, {200, 404}),
        lambda: ("POST", "/explain", {"user_id": "u0001", "item_id": item()}, {200, 400, 404}),
        lambda: ("POST", "/recommend", {"nonsense": draw.random()}, {400}),
        lambda: ("GET", f"/nowhere/{draw.randrange(10**9)}", None, {404}),
        lambda: ("GET", "/metrics", None, {200}),
        events,
        put,
        lambda: ("DELETE", f"/items/own%20{draw.randrange(OWN)}", None, {200, 404}),
    ]  # fmt: skip


def test_the_memory_of_a_service_does_not_grow(
    bundles: tuple[Path, Path], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    counts, problems = Counter[str](), list[str]()
    stopped = threading.Event()

    def ask(number: int, rounds: Iterator[int]) -> None:
        draws = kinds(random.Random(number))
        with closing(Client(service.port)) as client:
            for place in rounds:
                if stopped.is_set():
                    break
                method, path, body, fine = draws[place % len(draws)]()
                try:
                    found = client.ask(method, path, body)
                except (OSError, http.client.HTTPException) as error:
                    found = 0, repr(error)
                counts[f"{method} {path.split('/')[1]}"] += 1
                if found[0] not in fine:
                    problems.append(f"{method} {path} {body}: {found}")

    def fill() -> None:
        draw = random.Random(0)
        with closing(Client(service.port)) as client:
            for _ in range(STORED):
                found = [{"user_id": f"u{draw.randrange(USERS):04d}", "item_id": "i0001"} for _ in range(1_000)]
                assert client.post("/events", {"events": found})[0] == 200

    def swap(number: int) -> None:
        with closing(Client(service.port)) as client:
            status, answer = client.post("/admin/reload", {"bundle": str(bundles[number % 2])})
        assert status == 200, answer

    def used() -> int:
        lines = Path(f"/proc/{service.pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024

    with running(bundles[0], tmp_path, is_forked=False) as service:
        fill()
        warming = [
            threading.Thread(target=ask, args=(number, iter(range(WARM_ROUNDS * 16)))) for number in range(THREADS)
        ]
        for thread in warming:
            thread.start()
        number = 0
        while any(thread.is_alive() for thread in warming):
            swap(number := number + 1)
            time.sleep(2)
        asking = [threading.Thread(target=ask, args=(10 + number, itertools.count())) for number in range(THREADS)]
        for thread in asking:
            thread.start()
        begun, samples = time.monotonic(), list[int]()
        swapped = begun
        try:
            while time.monotonic() < begun + SECONDS:
                time.sleep(0.25)
                samples.append(used())
                if time.monotonic() > swapped + RELOAD_S:
                    swapped += RELOAD_S
                    swap(number := number + 1)
        finally:
            stopped.set()
            for thread in asking:
                thread.join()
        assert service.failures() == []
    assert problems == []
    part = max(1, len(samples) // 5)
    usual = statistics.median if LONG else min  # what a reload takes besides comes and goes: of some seconds it is most
    before, after = usual(samples[:part]), usual(samples[-part:])
    record_property("requests", counts.total())
    record_property("swaps", number)
    record_property("memory_mib", [round(each / 2**20, 1) for each in samples[:: max(1, len(samples) // 20)]])
    record_property("growth", round(after / before - 1, 4))
    assert after / before - 1 <= (GROWTH if LONG else SHORT_GROWTH)
