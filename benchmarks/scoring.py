"""Rankers: the time to score one request's candidates, on one thread.

    python benchmarks/scoring.py [--candidates 200]

A catalogue of 20,000 items and 10,000 users with three user, three item and two context features, one of the item's
multi-hot; histories are full. Writes ``benchmarks/results/scoring.json`` with the machine's facts.
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
from shortlist.contracts import Candidates, Catalogue, FeatureLayout, Features, Ragged, Ranker, Requests
from shortlist.machine import facts

RESULTS = Path(__file__).parent / "results" / "scoring.json"
NUM_USERS, NUM_ITEMS = 10_000, 20_000
RANKERS: dict[str, Any] = {
    "NeuMF": sl.NeuMF(),
    "DeepFM": sl.DeepFM(embedding_dim=16, hidden=(128, 64)),
    "DLRM": sl.DLRM(embedding_dim=16, bottom=(32,), top=(128, 64)),
    "CrossAttention": sl.CrossAttention(embedding_dim=64, history=50),
    "CrossAttention, listwise": sl.CrossAttention(embedding_dim=64, history=50, listwise=True),
}


def catalogue() -> Catalogue:
    """Items with three features, and the layouts of users and contexts."""
    layout = FeatureLayout((50, 200), (30,), 1)
    draw = torch.Generator().manual_seed(0)
    rows = NUM_ITEMS + 1
    categorical = torch.stack([torch.randint(0, size, (rows,), generator=draw) for size in layout.categorical], dim=1)
    values = torch.randint(0, 30, (2 * rows,), generator=draw) + layout.offsets[2]
    bags = Ragged(values.int(), torch.arange(0, 2 * rows + 1, 2))
    fused = (categorical + torch.tensor(layout.offsets[:2])).int()
    items = Features(layout, fused, (bags,), torch.randn(rows, 1, generator=draw))
    return Catalogue(NUM_USERS, NUM_ITEMS, items, FeatureLayout((7, 20), (), 1), FeatureLayout((24, 7)), evidence=2)


def request(known: Catalogue) -> Requests:
    """One request with everything in it."""
    assert known.user_features is not None
    assert known.context is not None
    user = Features(known.user_features, torch.tensor([[3, 9]], dtype=torch.int32), (), torch.randn(1, 1))
    context = Features(known.context, torch.tensor([[5, 26]], dtype=torch.int32))
    history = torch.randint(1, NUM_ITEMS + 1, (1, 50))
    return Requests(torch.tensor([7]), history, torch.tensor([50]), user_features=user, context=context)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=300)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    known, found = catalogue(), {}
    asked, num = request(known), arguments.candidates
    candidates = Candidates(torch.randint(1, NUM_ITEMS + 1, (1, num)), torch.randn(1, num), torch.rand(1, num, 2))
    for name, settings in RANKERS.items():
        network = settings.build(known).eval()
        assert isinstance(network, Ranker)
        times = []
        with torch.inference_mode():
            for _ in range(arguments.repeats):
                started = time.perf_counter()
                network.score(asked, candidates)
                times.append(time.perf_counter() - started)
        ranked = sorted(times)
        found[name] = {
            "median_ms": round(1e3 * statistics.median(times), 3),
            "p99_ms": round(1e3 * ranked[int(0.99 * len(ranked))], 3),
            "settings": repr(settings),
        }
        print(name, found[name]["median_ms"], "ms, p99", found[name]["p99_ms"], flush=True)
    result = {"machine": facts() | {"threads": 1}, "candidates": num, "rankers": found}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
