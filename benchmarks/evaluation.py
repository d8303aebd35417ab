"""Time a whole evaluation at the size of MovieLens-1M: user vectors, exact top-k without the seen items, all figures.

Run: python benchmarks/evaluation.py [--out benchmarks/results/evaluation.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from shortlist.contracts import Candidates, EvaluationBatch, Filter, Requests, Stages
from shortlist.evaluation import Report, evaluate

USERS, ITEMS, WIDTH, EVENTS, BATCH = 6040, 3706, 64, 1_000_209, 512
METRICS = (
    "hr@10",
    "recall@20",
    "precision@10",
    "ndcg@10",
    "mrr@10",
    "map@10",
    "coverage@10",
    "novelty@10",
    "diversity@10",
)


@dataclass(frozen=True, slots=True)
class Setting:
    """Random vectors and events of the size of a real data set."""

    users: Tensor  # (U, D)
    items: Tensor  # (I+1, D)
    seen: Tensor  # (U, X) padded with 0
    sizes: Tensor  # (U,) events of each user
    targets: Tensor  # (U, S)
    counts: Tensor  # (I+1,)


def make(num_targets: int, seed: int = 0) -> Setting:
    draw = torch.Generator().manual_seed(seed)
    share = torch.randn(USERS, generator=draw).mul(1.1).exp()  # as skewed as the real number of ratings a user
    sizes = (share / share.sum() * EVENTS).long().clamp(20, 2314)
    popularity = 1 / torch.arange(1, ITEMS + 1).float().add(20)
    seen = torch.multinomial(popularity.expand(USERS, -1), int(sizes.max()), generator=draw) + 1
    seen.masked_fill_(torch.arange(seen.shape[1]) >= sizes[:, None], 0)
    targets = torch.randint(1, ITEMS + 1, (USERS, num_targets), generator=draw)
    counts = torch.bincount(seen.ravel(), minlength=ITEMS + 1)
    counts[0] = 0
    return Setting(
        torch.randn(USERS, WIDTH, generator=draw),
        torch.randn(ITEMS + 1, WIDTH, generator=draw),
        seen,
        sizes,
        targets,
        counts,
    )


def batches(setting: Setting) -> Iterator[EvaluationBatch]:
    """Users by the number of events, so that little of ``seen`` is padding."""
    for rows in torch.split(setting.sizes.argsort(), BATCH):
        seen = setting.seen[rows, : int(setting.sizes[rows].max())]
        yield EvaluationBatch(Requests(user=rows), setting.targets[rows], Filter(exclude=seen), setting.sizes[rows])


def run(setting: Setting) -> Report:
    def shortlist(requests: Requests, /, *, k: int, filter: Filter) -> Stages:
        assert requests.user is not None
        vectors = torch.nn.functional.embedding(requests.user, setting.users)
        found = Candidates.top(vectors @ setting.items.T, k, filter)
        return Stages(found, found, found)

    return evaluate(
        shortlist,
        batches(setting),
        num_items=ITEMS,
        metrics=METRICS,
        item_counts=setting.counts,
        item_vectors=setting.items,
    )


def measure(num_targets: int, repeats: int) -> dict[str, float]:
    setting = make(num_targets)
    run(setting)
    seconds, cpu_seconds, answering = [], [], []
    for _ in range(repeats):
        started, cpu_started = time.perf_counter(), time.process_time()
        report = run(setting)
        seconds.append(time.perf_counter() - started)
        cpu_seconds.append(time.process_time() - cpu_started)
        assert report.ms_per_request is not None
        answering.append(report.ms_per_request * report.num_users / 1000)
    middle = statistics.median(seconds)
    return {
        "targets_per_user": num_targets,
        "seconds_median": round(middle, 3),
        "seconds_best": round(min(seconds), 3),
        "cpu_seconds_median": round(statistics.median(cpu_seconds), 3),
        "seconds_in_shortlist": round(statistics.median(answering), 3),
        "users_per_second": round(USERS / middle),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "evaluation.json")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    from shortlist.machine import facts

    result = {
        "what": "evaluate(): user vectors, exact top-k of all items without the seen ones, figures, segments, 1000 resamples",
        "sizes": {"users": USERS, "items": ITEMS, "width": WIDTH, "seen_events": EVENTS, "batch": BATCH},
        "metrics": METRICS,
        "machine": facts(),
        "runs": [measure(num_targets, arguments.repeats) for num_targets in (1, 20)],
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["runs"], indent=2))


if __name__ == "__main__":
    main()
