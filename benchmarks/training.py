"""Each model's training speed on MovieLens-1M: positives per second of whole steps, batches and optimiser included.

    python benchmarks/training.py --data DIR [--seconds 10]

Runs about that long per model after a warm-up, and writes ``benchmarks/results/training.json`` with the machine's facts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

import shortlist as sl
from shortlist.data.batches import PairBatches
from shortlist.machine import facts

RESULTS = Path(__file__).parent / "results" / "training.json"
CONTENDERS: dict[str, tuple[Any, int]] = {
    "TwoTower, in-batch 2048 + 1024 uniform": (sl.TwoTower(), 2048),
    "MF, in-batch 2048 + 512 uniform": (sl.MF(), 2048),
    "MF, BCE, 4 negatives, batch 8192": (sl.MF(loss="bce", negatives=4), 8192),
    "NeuMF d=8, 4 negatives, batch 8192": (sl.NeuMF(), 8192),
    "NeuMF d=8, 4 negatives, batch 256": (sl.NeuMF(), 256),
}


def measure(settings: Any, dataset: sl.Dataset, batch_size: int, seconds: float) -> dict[str, float]:
    """Positives per second: the median over steps, and how much of a step the batch takes."""
    torch.manual_seed(0)
    network = settings.build(dataset.catalogue())
    batches = PairBatches(dataset, settings.sampling, batch_size=batch_size, seed=0)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    steps, loading = [], []
    deadline = time.perf_counter() + seconds
    step = 0
    while time.perf_counter() < deadline or len(steps) < 5:
        started = time.perf_counter()
        examples = batches.get(0, step % (batches.num_steps - 1))
        loaded = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        network.loss(examples).backward()
        optimizer.step()
        if step >= 3:  # the first steps set up memory
            steps.append(time.perf_counter() - started)
            loading.append(loaded - started)
        step += 1
    median = statistics.median(steps)
    return {
        "positives_per_s": round(batch_size / median),
        "step_ms": round(1e3 * median, 2),
        "batch_share": round(statistics.median(loading) / median, 3),
        "steps": len(steps),
    }


def main() -> None:
    """Measure every model, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    folder = arguments.data
    dataset = sl.read_dataset(
        folder / "ratings.csv", items=folder / "movies.dat", users=folder / "users.dat", format="movielens"
    )
    train, _, _ = sl.split_last_out(dataset)
    results = {}
    for name, (settings, batch_size) in CONTENDERS.items():
        results[name] = measure(settings, train, batch_size, arguments.seconds)
        print(name, results[name], flush=True)
    RESULTS.write_text(json.dumps({"machine": facts(), "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
