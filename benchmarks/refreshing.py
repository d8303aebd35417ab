"""A million items, a few of which come, change or go: what a refresh takes, and how much memory many of them leave behind.

    python benchmarks/refreshing.py [--items 1000000]

Two funnels with titles, an item feature of categories and one of numbers, and an IVFPQ index: SASRec, whose new items are
placed by their features, and two towers, which see the features; DLRM re-ranks both. Weights are as they are drawn: what
they are changes no time. Each is loaded from its bundle in two processes at once, the workers of a service, which refresh by one
item after the other, first at rest and then beside a thread that answers without a pause. Times are of the processor but for
those that say wall. Memory is what is private to a process and written (the operating system's private dirty pages).
Writes ``benchmarks/results/refreshing.json`` with the machine's facts.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

import shortlist as sl
from shortlist.machine import facts
from shortlist.model import Model, TrainedUntil
from shortlist.recommender import Recommender

RESULTS = Path(__file__).parent / "results" / "refreshing.json"
GROUPS, USERS, EVENTS, STEPS = 1_000, 100_000, 1_000_000, 100
RETRIEVERS = {
    "SASRec": sl.SASRec(embedding_dim=64, history=20),
    "TwoTower": sl.TwoTower(embedding_dim=64, history=20, sparse=True),
}
RANKER = sl.DLRM(embedding_dim=16, bottom=(32,), top=(64, 32), sparse=True)
FEATURES = [
    {"name": "group", "kind": "categorical", "owner": "item"},
    {"name": "price", "kind": "numeric", "owner": "item"},
]


def catalogue(first: int, count: int, seed: int = 0) -> pl.DataFrame:
    """Items from an id on."""
    draw, ids = np.random.default_rng((seed, first)), np.arange(first, first + count)
    return pl.DataFrame(
        {
            "item_id": ids,
            "title": [f"Thing number {item}" for item in ids.tolist()],
            "group": (ids % GROUPS).astype(str),
            "price": draw.lognormal(3, 1, count).round(2),
        }
    )


def make(name: str, num_items: int, path: Path) -> None:
    """Write the bundle of a funnel that was never trained."""
    draw = np.random.default_rng(0)
    events = pl.DataFrame(
        {
            "user_id": draw.integers(0, USERS, EVENTS),
            "item_id": (num_items ** draw.random(EVENTS)).astype(np.int64) - 1,
            "timestamp": np.arange(EVENTS),
        }
    )
    dataset = sl.read_dataset(events, items=catalogue(0, num_items), schema={"features": FEATURES, "title": "title"})
    parts = []
    for settings in (RETRIEVERS[name], RANKER):
        torch.manual_seed(0)
        network = settings.build(dataset.catalogue()).eval()
        parts.append(Model(settings, network, dataset, dataset.catalogue(), TrainedUntil.of(dataset)))
    index = sl.IVFPQ(nprobe=64, k_factor=8)  # untrained vectors say nothing that it could be tuned by
    sl.Recommender(parts[0], ranker=parts[1], index=index, candidates=200).save(path)


def private_mb() -> float:
    """Written pages that no other process shares."""
    rows = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(row.split()[1]) for row in rows if row.startswith("Private_Dirty:")) / 1024


def timed(work: Callable[..., Any], *arguments: Any) -> tuple[Any, float, float]:
    """What it returns, and its milliseconds of the processor and by the clock."""
    spent, started = time.process_time(), time.perf_counter()
    found = work(*arguments)
    return found, 1e3 * (time.process_time() - spent), 1e3 * (time.perf_counter() - started)


def served(path: Path, num_items: int) -> dict[str, Any]:
    """One worker."""
    spent = time.process_time()
    current = sl.load(path)
    loaded = time.process_time() - spent
    spent = time.process_time()
    current.warm_up()
    warmed = time.process_time() - spent
    user = current.known_users()[:1]

    def answer(recommender: Recommender, **asked: Any) -> pl.DataFrame:
        return recommender.recommend(user, k=10, **asked)

    def answer_ms(recommender: Recommender) -> float:
        return round(statistics.median(timed(answer, recommender)[1] for _ in range(50)), 2)

    found: dict[str, Any] = {"load_s": round(loaded, 2), "warm_up_s": round(warmed, 2), "answer_ms": answer_ms(current)}
    gc.collect()
    before = private_mb()
    steps: dict[str, Callable[[Recommender, int], Recommender]] = {
        "new": lambda now, step: now.refresh(catalogue(num_items + step, 1)),
        "changed": lambda now, step: now.refresh(catalogue(7 * step, 1, seed=1)),
        "removed": lambda now, step: now.refresh(remove=[7 * step + 1]),
    }
    for what, work in steps.items():
        times, walls = [], []
        for step in range(STEPS):
            current, spent_ms, wall_ms = timed(work, current, step)
            times.append(spent_ms)
            walls.append(wall_ms)
            if what == "new":
                assert len(answer(current, items=[num_items + step], exclude_seen=False)) == 1
            if what == "removed":
                assert len(answer(current, items=[7 * step + 1], exclude_seen=False)) == 0
        found[f"refresh_1_{what}_ms"] = round(statistics.median(times), 1)
        found[f"refresh_1_{what}_wall_ms"] = [round(statistics.median(walls), 1), round(max(walls), 1)]
        gc.collect()
        found[f"more_mb_after_{STEPS}_{what}"] = round(private_mb() - before, 1)
    found["answer_after_ms"] = answer_ms(current)
    for count in (100, 10_000):
        items = catalogue(2 * num_items, count, seed=count)
        _, spent_ms, _ = timed(current.refresh, items)
        found[f"refresh_{count}_new_ms"] = round(spent_ms, 1)
        _, spent_ms, _ = timed(current.refresh, catalogue(0, count, seed=2))
        found[f"refresh_{count}_changed_ms"] = round(spent_ms, 1)
    return found | {"beside_answers": beside_answers(current, answer, num_items)}


def beside_answers(
    current: Recommender, answer: Callable[[Recommender], pl.DataFrame], num_items: int
) -> dict[str, Any]:
    """From the table to the first answer that may hold its item, while a thread answers without a pause."""
    serving, stop, answers, walls = [current], threading.Event(), 0, []

    def serve() -> None:
        nonlocal answers
        while not stop.is_set():
            answer(serving[0])
            answers += 1

    thread = threading.Thread(target=serve)
    began = time.perf_counter()
    thread.start()
    for step in range(STEPS):
        started = time.perf_counter()
        serving[0] = serving[0].refresh(catalogue(3 * num_items + step, 1))
        answer(serving[0])
        walls.append(1e3 * (time.perf_counter() - started))
        time.sleep(0.05)
    stop.set()
    thread.join()
    seconds = time.perf_counter() - began
    ordered = sorted(walls)
    return {
        "answers_per_s": round(answers / seconds),
        "retrievable_wall_ms": {"median": round(ordered[STEPS // 2]), "p95": round(ordered[int(0.95 * STEPS)])},
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--bundle", type=Path, help="a worker with this bundle, in this process; nothing is written")
    parser.add_argument("--make", choices=RETRIEVERS, help="write that bundle, in this process")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.make is not None:
        make(arguments.make, arguments.items, arguments.bundle)
        return
    if arguments.bundle is not None:
        print(json.dumps(served(arguments.bundle, arguments.items)))
        return
    result: dict[str, Any] = {
        "machine": facts() | {"threads": 1, "workers": 2},
        "settings": {"items": arguments.items, "events": EVENTS, "ranker": repr(RANKER)},
    }
    for name, settings in RETRIEVERS.items():
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--items", str(arguments.items), "--bundle", f"{folder}/bundle"]
            subprocess.run([*command, "--make", name], check=True)
            workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
            told = [worker.communicate()[0] for worker in workers]
        result[name] = {"settings": repr(settings), "workers": [json.loads(each) for each in told]}
        print(name, json.dumps(result[name]["workers"], indent=1), flush=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
