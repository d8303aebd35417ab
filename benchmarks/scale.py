"""A million items: training the two towers, building the index, answering one user and ten thousand, refreshing.

    python benchmarks/scale.py [--items 1000000]

Events are made up: users and items belong to groups, and users mostly take items of their own. The two towers are trained for
one epoch on as many events with a tenth of the items and with all of them, in a process of its own each: rows a second
and the most memory. Then DLRM re-ranks 200 candidates. Writes ``benchmarks/results/scale.json`` with the machine's facts.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

import shortlist as sl
from shortlist.machine import facts

RESULTS = Path(__file__).parent / "results" / "scale.json"
GROUPS, USERS, EVENTS, ASKED, NEW = 1_000, 100_000, 1_000_000, 10_000, 10_000
TRAINING: dict[str, Any] = {"epochs": 1, "patience": None, "batch_size": 2048}
TOWERS = sl.TwoTower(embedding_dim=64, history=20, sparse=True)


def catalogue(first: int, count: int, seed: int = 0) -> pl.DataFrame:
    """Items from an id on: the group is the id's remainder."""
    draw = np.random.default_rng(seed)
    ids = np.arange(first, first + count)
    group = ids % GROUPS
    return pl.DataFrame({"item_id": ids, "group": group, "price": draw.lognormal(3, 1, count).round(2)}).with_columns(
        pl.col("group").cast(pl.String)
    )


def make(num_items: int, *, users: int = USERS) -> sl.Dataset:
    """Events of users who take four of five items from their own group, of popularity falling as 1 / rank."""
    draw = np.random.default_rng(0)
    user = draw.integers(0, users, EVENTS)
    own = np.where(draw.random(EVENTS) < 0.8, user % GROUPS, draw.integers(0, GROUPS, EVENTS))
    most = num_items // GROUPS
    rank = np.floor(np.exp(draw.random(EVENTS) * np.log(most))).astype(np.int64) - 1
    events = pl.DataFrame({"user_id": user, "item_id": rank * GROUPS + own, "timestamp": np.arange(EVENTS)})
    return sl.read_dataset(events, items=catalogue(0, num_items), schema={"features": FEATURES})


FEATURES = [
    {"name": "group", "kind": "categorical", "owner": "item"},
    {"name": "price", "kind": "numeric", "owner": "item"},
]


def towers(dataset: sl.Dataset) -> sl.Model:
    """One epoch."""
    return sl.fit(TOWERS, dataset, training=sl.Training(**TRAINING, optimizer="rowwise_adagrad", learning_rate=0.05))


def trained(num_items: int) -> dict[str, float]:
    """What one epoch takes, in this process."""
    model = towers(make(num_items))
    assert model.log is not None
    return {
        "items": num_items,
        "rows_per_s": round(model.log.epochs[0].examples_per_s),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def timed(work: Callable[[], Any], repeats: int) -> float:
    """Seconds: the median."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def served(num_items: int) -> dict[str, Any]:
    """Building, answering and refreshing."""
    dataset = make(num_items)
    ranking = sl.Training(**TRAINING, optimizer="rowwise_adagrad", learning_rate=0.02)
    ranker = sl.fit(sl.DLRM(embedding_dim=16, bottom=(32,), top=(64, 32), sparse=True), dataset, training=ranking)
    model = towers(dataset)
    started = time.perf_counter()
    recommender = sl.Recommender(model, ranker=ranker, candidates=200)
    built = time.perf_counter() - started
    users = recommender.known_users()[:ASKED]
    recommender.recommend(users[:1000], k=10)
    batch = timed(lambda: recommender.recommend(users, k=10), 3)
    one = timed(lambda: recommender.recommend(users[:1], k=10), 200)
    new = catalogue(num_items, NEW, seed=1)
    started = time.perf_counter()
    fresh = recommender.refresh(new)
    refreshed = time.perf_counter() - started
    found = fresh.recommend(users[:1], k=5, items=new["item_id"].to_list())
    assert len(found) == 5
    index = recommender.funnel.index
    assert index is not None
    return {
        "index": str(index.report),
        "build_s": round(built, 1),
        "users_per_s": round(len(users) / batch),
        "one_user_ms": round(1e3 * one, 2),
        "refresh_10k_s": round(refreshed, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--part", choices=("trained", "served"), help="one part, in this process; nothing is written")
    arguments = parser.parse_args()
    if arguments.part is not None:
        print(json.dumps({"trained": trained, "served": served}[arguments.part](arguments.items)))
        return

    def apart(part: str, items: int) -> dict[str, Any]:
        command = [sys.executable, __file__, "--part", part, "--items", str(items)]
        found: dict[str, Any] = json.loads(subprocess.check_output(command, text=True).strip().splitlines()[-1])
        print(part, found, flush=True)
        return found

    result = {
        "machine": facts() | {"threads": torch.get_num_threads()},
        "settings": {"model": repr(TOWERS), "events": EVENTS, "users": USERS, "groups": GROUPS},
        "training": [apart("trained", items) for items in (arguments.items // 10, arguments.items)],
        "serving": apart("served", arguments.items),
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
