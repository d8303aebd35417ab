"""What the runners in this folder share: the training sequences, a clock of training steps, and the line they print."""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from importlib import metadata
from pathlib import Path

DATASETS = ("ml-1m", "beauty", "diginetica")
WINDOWS = {"ml-1m": 200, "beauty": 50, "diginetica": 20}
WARM_UP = 3
HELD_OUT = 2  # each user's last two events validate and test


def arguments(
    description: str | None, losses: tuple[str, ...], datasets: tuple[str, ...] = DATASETS
) -> argparse.ArgumentParser:
    """The arguments that every runner has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--dataset", choices=datasets, default=datasets[0])
    parser.add_argument("--loss", choices=losses, default=losses[0])
    parser.add_argument("--seconds", type=float, default=30.0, help=f"to measure, after {WARM_UP} steps of warm-up")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch")
    return parser


def all_sequences(data: Path, dataset: str) -> list[list[int]]:
    """Every user's (or session's) items, oldest first; items count from 1."""
    if dataset == "diginetica":
        lines = (data / "diginetica" / "train_sessions.plain.txt").read_text().splitlines()
        return [[int(item) for item in line.split()] for line in lines]
    if dataset == "beauty":
        lines = (data / "amazon-beauty" / "Beauty.txt").read_text().splitlines()
        return [[int(item) for item in line.split()[1:]] for line in lines]
    users: dict[str, list[int]] = {}
    for line in (data / "sasrec-ml-1m" / "ml-1m.txt").read_text().splitlines():
        user, item = line.split()
        users.setdefault(user, []).append(int(item))
    return list(users.values())


def training_sequences(data: Path, dataset: str) -> list[list[int]]:
    """The training split: all but each user's last two events, and all of the sessions of Diginetica."""
    sequences = all_sequences(data, dataset)
    return sequences if dataset == "diginetica" else [items[:-HELD_OUT] for items in sequences]


class TimeIsUp(Exception):
    """Raised from inside a peer's training loop that has no other way to stop."""


class Clock:
    """The steps' ends: a step lasts from the end of the one before, so making its batch counts."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.ends: list[float] = []
        self.targets: list[int] = []

    def tick(self, targets: int) -> bool:
        """A step with so many real targets has ended; whether the time is up."""
        self.ends.append(time.perf_counter())
        self.targets.append(targets)
        return len(self.ends) > WARM_UP and self.ends[-1] - self.ends[WARM_UP - 1] >= self.seconds

    def summary(self) -> dict[str, float]:
        durations = [
            after - before for before, after in zip(self.ends[WARM_UP - 1 :], self.ends[WARM_UP:], strict=False)
        ]
        targets = self.targets[WARM_UP:]
        return {
            "steps": len(durations),
            "median_step_ms": round(1e3 * statistics.median(durations), 2),
            "targets_per_step": round(sum(targets) / len(targets), 1),
            "targets_per_s": round(sum(targets) / sum(durations), 1),
        }


def report(
    peer: str, version: str, options: argparse.Namespace, settings: dict[str, object], clock: Clock, **more: object
) -> None:
    """The result, as one line of JSON on the standard output."""
    result = {
        "peer": peer,
        "version": version,
        "dataset": options.dataset,
        "loss": options.loss,
        "settings": settings,
        **clock.summary(),
        "peak_rss_mb": peak_rss_mb(),
        "threads": options.threads,
        "torch": metadata.version("torch"),
        **more,
    }
    print(json.dumps(result), flush=True)


def peak_rss_mb(who: int = resource.RUSAGE_SELF) -> float:
    peak = resource.getrusage(who).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
