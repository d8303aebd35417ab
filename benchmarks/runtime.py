"""What serving computes with: the networks of one request path in PyTorch, in TorchScript and in ONNX Runtime.

    python benchmarks/runtime.py [--items 1000000]

SASRec (64 wide, window 50, two blocks) embeds requests with full histories, and DLRM scores 200 candidates of each, with
tables of a million items; weights are random. Looking up the rows is part of every time. Then the whole funnel answers: embed,
search, re-rank. All runtimes take turns on the same requests, sixteen different ones at a time. Writes
``benchmarks/results/runtime.json`` with the machine's facts.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

import shortlist as sl
from shortlist.accelerating import accelerated
from shortlist.contracts import Candidates, ModelSettings, Requests
from shortlist.funnel import Funnel
from shortlist.machine import facts
from shortlist.model import Model, TrainedUntil
from shortlist.sources import evidence_width

RESULTS = Path(__file__).parent / "results" / "runtime.json"
SASREC = sl.SASRec(embedding_dim=64, history=50, num_blocks=2)
RANKER = sl.DLRM(embedding_dim=16, bottom=(32,), top=(64, 32))
INDEX = sl.IVFPQ(nlist=4096, nprobe=91, k_factor=8)  # as tuned for the vectors of benchmarks/scale.py
GROUPS, USERS, WINDOW, CANDIDATES = 1_000, 100_000, 50, 200
BATCHES = (1, 8, 32)
VARIANTS = 16  # cases of each size
FEATURES = [
    {"name": "group", "kind": "categorical", "owner": "item"},
    {"name": "price", "kind": "numeric", "owner": "item"},
]
Part = Callable[[int], object]  # the work for one of the cases
Case = tuple[Requests, Candidates]


def dataset(num_items: int) -> sl.Dataset:
    """Items with a group and a price, and some events of every user."""
    draw = np.random.default_rng(0)
    items = np.arange(num_items)
    table = pl.DataFrame(
        {"item_id": items, "group": (items % GROUPS).astype(str), "price": draw.lognormal(3, 1, num_items)}
    )
    user = np.repeat(np.arange(USERS), 2)
    events = pl.DataFrame(
        {"user_id": user, "item_id": draw.choice(items, len(user)), "timestamp": np.arange(len(user))}
    )
    return sl.read_dataset(events, items=table, schema={"features": FEATURES})


def model(settings: ModelSettings, data: sl.Dataset, evidence: int) -> Model:
    """Not trained: it takes as long."""
    catalogue = data.catalogue().with_evidence(evidence)
    return Model(settings, settings.build(catalogue).eval(), data, catalogue, TrainedUntil.of(data))


class Frozen(nn.Module):
    """``from_rows`` as TorchScript takes it."""

    def __init__(self, network: Any, names: list[str]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *rows: Tensor) -> Tensor:
        found: Tensor = self.network.from_rows(dict(zip(self.names, rows, strict=True)))
        return found


def frozen(network: Any, rows: dict[str, Tensor]) -> Callable[[dict[str, Tensor]], Tensor]:
    """The network's part after its lookups, traced and frozen."""
    names = list(rows)
    with torch.no_grad():
        traced = torch.jit.freeze(
            torch.jit.trace(Frozen(network, names).eval(), tuple(rows.values()), check_trace=False)
        )
    return lambda given: traced(*(given[name] for name in names))


def times(parts: dict[str, Part], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each part, which take turns."""
    spent: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(rounds + 1):
        for name, part in parts.items():
            for case in range(VARIANTS):
                started = time.perf_counter()
                part(case)
                if turn:
                    spent[name].append(1e3 * (time.perf_counter() - started))
    return {
        name: {
            "median_ms": round(float(np.median(each)), 4),
            "fastest_tenth_ms": round(float(np.quantile(each, 0.1)), 4),
        }
        for name, each in spent.items()
    }


def asked(data: sl.Dataset, num: int) -> Case:
    """Requests with full histories, and candidates for each."""
    history = torch.randint(1, data.num_items + 1, (num, WINDOW))
    requests = Requests(torch.randint(1, USERS + 1, (num,)), history, torch.full((num,), WINDOW))
    scores = torch.randn(num, CANDIDATES).sort(dim=1, descending=True).values
    evidence = torch.stack((scores, torch.arange(float(CANDIDATES)).expand_as(scores)), dim=2)
    return requests, Candidates(torch.randint(1, data.num_items + 1, (num, CANDIDATES)), scores, evidence)


def embedding(plain: Any, quick: Any, cases: list[Case]) -> dict[str, Part]:
    """The retriever in each runtime."""
    script = frozen(plain, plain.rows(cases[0][0]))
    return {
        "PyTorch": lambda case: plain.embed_requests(cases[case][0]),
        "TorchScript": lambda case: script(plain.rows(cases[case][0])),
        "ONNX Runtime": lambda case: quick.embed_requests(cases[case][0]),
        "lookups alone": lambda case: plain.rows(cases[case][0]),
    }


def scoring(plain: Any, quick: Any, cases: list[Case]) -> dict[str, Part]:
    """The ranker in each runtime."""

    def rows(case: int) -> dict[str, Tensor]:
        requests, candidates = cases[case]
        found: dict[str, Tensor] = plain.rows(requests, candidates.items, candidates.evidence)
        return found

    script = frozen(plain, rows(0))
    return {
        "PyTorch": lambda case: plain.score(*cases[case]),
        "TorchScript": lambda case: script(rows(case)),
        "ONNX Runtime": lambda case: quick.score(*cases[case]),
        "lookups alone": rows,
    }


def funnels(plain: Funnel, quick: Funnel, cases: list[Case]) -> dict[str, Part]:
    """The whole funnel in two runtimes."""
    return {
        "PyTorch": lambda case: plain.shortlist(cases[case][0], k=10),
        "ONNX Runtime": lambda case: quick.shortlist(cases[case][0], k=10),
    }


@torch.inference_mode()
def measured(plain: Funnel, quick: Funnel, *, rounds: int, threads: int) -> Iterator[dict[str, Any]]:
    """Each batch size in each runtime; with two threads only PyTorch, which alone can use them."""
    assert plain.ranker is not None
    assert quick.ranker is not None
    torch.set_num_threads(threads)
    for num in BATCHES:
        cases = [asked(plain.retriever.dataset, num) for _ in range(VARIANTS)]
        parts = {
            "SASRec": embedding(plain.retriever.network, quick.retriever.network, cases),
            "DLRM": scoring(plain.ranker.network, quick.ranker.network, cases),
            "funnel": funnels(plain, quick, cases),
        }
        for what, runtimes in parts.items():
            chosen = runtimes if threads == 1 else {"PyTorch": runtimes["PyTorch"]}
            for name, spent in times(chosen, rounds).items():
                yield {"requests": num, "part": what, "runtime": name, "threads": threads, **spent}
    torch.set_num_threads(1)


def resident_mb() -> float:
    """Memory that this process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=25)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = dataset(arguments.items)
    ranker = model(RANKER, data, evidence_width(1))
    plain = Funnel.of(model(SASREC, data, 0), index=INDEX, ranker=ranker, candidates=CANDIDATES)
    before, started = resident_mb(), time.perf_counter()
    quick = accelerated(plain)
    start = {"seconds": round(time.perf_counter() - started, 2), "memory_mb": round(resident_mb() - before)}
    print("accelerated:", start)
    rows: list[dict[str, Any]] = []
    for threads in (1, 2):
        for row in measured(plain, quick, rounds=arguments.rounds, threads=threads):
            print(row, flush=True)
            rows.append(row)
    result = {
        "machine": facts() | {"onnxruntime": metadata.version("onnxruntime")},
        "settings": {
            "retriever": repr(SASREC),
            "ranker": repr(RANKER),
            "index": repr(INDEX),
            "items": arguments.items,
            "candidates": CANDIDATES,
        },
        "start of ONNX Runtime": start,
        "times": rows,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
