"""Train ALS on the NCF paper's MovieLens-1M split and set its figures beside the published ones.

Run: python benchmarks/ncf_als.py --data DIR [--dim 192 64] [--search]
DIR holds the folder ncf-ml-1m. Settings and published figures stand in recipes/als_ncf_ml_1m.toml.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import re
import statistics
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shortlist import machine
from shortlist.contracts import Candidates, Catalogue, EvaluationBatch, Filter, Interactions, Requests, Stages
from shortlist.evaluation import Report, evaluate, given_candidates
from shortlist.features import running_total
from shortlist.models.als import ALS, ALSNetwork

ROOT = Path(__file__).resolve().parents[1]
BATCH = 512


@dataclass(frozen=True, slots=True)
class Part:
    """What is known, and for every user 1 … U the item that came next with the items it is ranked among."""

    known: Interactions
    targets: Tensor  # (U, 1)
    negatives: Tensor  # (U, 99)


def read(folder: Path, names: dict[str, str]) -> Part:
    """The files of the split; users and items from 1."""
    train = torch.from_numpy(np.loadtxt(folder / names["train"], dtype=np.int64)) + 1
    users, items, order = train[:, 0], train[:, 1], torch.argsort(train[:, 3], stable=True)
    order = order[torch.argsort(users[order], stable=True)]
    test = np.loadtxt(folder / names["test"], dtype=np.int64)[:, :2] + 1
    given = [[int(number) for number in re.findall(r"\d+", line)] for line in (folder / names["negatives"]).open()]
    negatives = torch.tensor(given)[:, 2:] + 1
    assert test[:, 0].tolist() == list(range(1, len(test) + 1))
    assert [row[:2] for row in given] == (test - 1).tolist()
    num_items = int(max(items.max(), negatives.max(), test[:, 1].max()))
    offsets = running_total(torch.bincount(users, minlength=len(test) + 1))
    return Part(Interactions(offsets, items[order].int(), num_items), torch.from_numpy(test[:, 1:]), negatives)


def hold_last(part: Part, *, seed: int) -> Part:
    """Each user's last known event as the one to predict, with as many random items that the user never met."""
    known = part.known
    last = known.offsets[2:] - 1
    met = torch.zeros(known.num_rows, known.num_items + 1, dtype=torch.bool)
    met[known.rows(), known.items.long()] = True
    met[:, 0] = True
    draw = torch.Generator().manual_seed(seed)
    negatives = torch.multinomial((~met[1:]).float(), part.negatives.shape[1], generator=draw)
    keep = torch.ones(len(known), dtype=torch.bool)
    keep[last] = False
    return Part(known.select(keep), known.items[last, None].long(), negatives)


def batches(part: Part, *, history: int) -> Iterator[EvaluationBatch]:
    rows = torch.arange(1, part.known.num_rows)
    for some in torch.split(rows, BATCH):
        steps, length, _ = part.known.windows(some, part.known.offsets[some + 1], history)
        targets = part.targets[some - 1]
        among = given_candidates(part.negatives[some - 1], targets)
        yield EvaluationBatch(Requests(user=some, history=steps, length=length), targets, among, length)


def figures(network: ALSNetwork, part: Part, metrics: list[str], *, history: int, bootstrap: int = 0) -> Report:
    def shortlist(requests: Requests, /, *, k: int, filter: Filter) -> Stages:
        found = Candidates.top(network.embed_requests(requests) @ network.item_factors.T, k, filter)
        return Stages(found, found, found)

    asked = batches(part, history=history)
    return evaluate(shortlist, asked, num_items=part.known.num_items, metrics=metrics, bootstrap=bootstrap)


def solved(settings: ALS, part: Part, *, seed: int) -> tuple[ALSNetwork, dict[str, float]]:
    """The network and the seconds that it took, on the clock and of all processors together."""
    torch.manual_seed(seed)
    network = settings.build(Catalogue(num_users=part.known.num_rows - 1, num_items=part.known.num_items))
    started, worked = time.perf_counter(), time.process_time()
    network.solve(part.known)
    took = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - worked}
    return network, {name: round(value, 1) for name, value in took.items()}


def values(report: Report) -> dict[str, float]:
    return {estimate.metric: round(estimate.value, 4) for estimate in report.metrics}


def search(base: ALS, part: Part, recipe: dict[str, Any]) -> list[dict[str, Any]]:
    """The validation figures of every combination, then those of the best one with shorter histories."""
    grid, protocol = recipe["search"], recipe["protocol"]
    seed, metrics = protocol["seeds"][0], protocol["metrics"]
    tried: list[dict[str, Any]] = []

    def note(network: ALSNetwork, settings: ALS) -> None:
        names = ("regularization", "unobserved_weight", "iterations", "history")
        found = values(figures(network, part, metrics, history=settings.history))
        tried.append({name: getattr(settings, name) for name in names} | found)
        print(json.dumps(tried[-1]), flush=True)

    every = grid["iterations_every"]
    for regularization, weight in itertools.product(grid["regularization"], grid["unobserved_weight"]):
        settings = dataclasses.replace(base, regularization=regularization, unobserved_weight=weight, iterations=every)
        network, _ = solved(settings, part, seed=seed)
        for iterations in range(every, grid["iterations"] + 1, every):
            if iterations > every:
                network.solve(part.known)  # goes on from where it stands
            note(network, dataclasses.replace(settings, iterations=iterations))
    best = max(tried, key=lambda one: one["ndcg@10"])
    settings = dataclasses.replace(base, **{name: best[name] for name in best if name not in metrics})
    network, _ = solved(settings, part, seed=seed)
    for history in grid["history"]:
        note(network, dataclasses.replace(settings, history=history))
    return tried


def run(settings: ALS, test: Part, valid: Part, recipe: dict[str, Any]) -> dict[str, Any]:
    """Validation figures of the first seed, test figures of all of them, of whole and of recent histories."""
    protocol = recipe["protocol"]
    metrics, seeds, recent = protocol["metrics"], protocol["seeds"], recipe["recent"]["history"]
    network, _ = solved(settings, valid, seed=seeds[0])
    checked = values(figures(network, valid, metrics, history=settings.history))
    rows = []
    for seed in seeds:
        network, took = solved(settings, test, seed=seed)
        report = figures(network, test, metrics, history=settings.history, bootstrap=1000)
        rows.append(
            {
                "seed": seed,
                **values(report),
                "interval_95": {
                    one.metric: [round(one.low or 0, 4), round(one.high or 0, 4)] for one in report.metrics
                },
                "recent_history": values(figures(network, test, metrics, history=recent)),
                **took,
                "evaluation_seconds": round(report.seconds, 2),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return {
        "settings": dataclasses.asdict(settings),
        "validation": checked,
        "test": rows,
        "mean": {name: round(statistics.mean(row[name] for row in rows), 4) for name in metrics},
        "mean_of_recent_history": {
            name: round(statistics.mean(row["recent_history"][name] for row in rows), 4) for name in metrics
        },
        "seconds_per_iteration": round(min(row["seconds"] for row in rows) / settings.iterations, 2),
        "cpu_seconds_per_iteration": round(min(row["cpu_seconds"] for row in rows) / settings.iterations, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds ncf-ml-1m")
    parser.add_argument("--dim", type=int, nargs="+", help="embedding widths (default: the recipe's)")
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "als_ncf_ml_1m.toml")
    parser.add_argument(
        "--search", action="store_true", help="try the recipe's [search] on the validation part instead"
    )
    parser.add_argument("--out", type=Path, help="the JSON file (default: in benchmarks/results)")
    options = parser.parse_args()
    recipe = tomllib.loads(options.recipe.read_text())
    base = ALS(**recipe["model"])
    test = read(options.data / recipe["data"]["folder"], recipe["data"])
    valid = hold_last(test, seed=0)
    runs = []
    for width in options.dim or [base.embedding_dim]:
        settings = dataclasses.replace(base, embedding_dim=width)
        if options.search:
            runs.append({"embedding_dim": width, "validation": search(settings, valid, recipe)})
        else:
            runs.append(run(settings, test, valid, recipe))
            print(f"ALS {width}: {runs[-1]['mean']}; recent history: {runs[-1]['mean_of_recent_history']}")
    for row in recipe["published"]:
        print(f"{row['model']} ({row['by']}): {row['hr@10']} {row['ndcg@10']}")
    facts = machine.facts() | {"threads": torch.get_num_threads()}
    result = {"recipe": recipe["name"], "machine": facts, "runs": runs, "published": recipe["published"]}
    out = options.out or ROOT / "benchmarks" / "results" / ("ncf_als_search.json" if options.search else "ncf_als.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
