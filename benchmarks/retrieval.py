"""Item vectors into results/retrieval.json: build, recall, speed, filters and edits of every index, beside the bare library.

python benchmarks/retrieval.py            # 100k items of width 64
python benchmarks/retrieval.py --large    # and 1M
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import torch
from torch import Tensor

from shortlist.contracts import Filter
from shortlist.index import HNSW, EditableIndex, Exact, recall

WIDTH, K, BATCH, SINGLE = 64, 100, 1_000, 1_000
SHARES = (0.99, 0.5, 0.1, 0.01, 0.001)  # of the items that a mask lets pass


def catalogue(count: int, *, seed: int) -> Tensor:
    """Vectors (count, D) as trained models give: a decaying spectrum (participation ratio 37) and unequal lengths."""
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.exp(-torch.arange(WIDTH) / 40)
    lengths = (0.4 * torch.randn(count, 1, generator=generator)).exp()
    return torch.randn(count, WIDTH, generator=generator) * spectrum * lengths


def seconds(*calls: Callable[[], object], rounds: int) -> list[float]:
    """The median time of each call; they take turns, so that a busy machine slows all alike."""
    taken: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(rounds):
        for call, times in zip(calls, taken, strict=True):
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
    return [statistics.median(times) for times in taken]


def one_by_one(*searches: Callable[[Tensor], object], queries: Tensor) -> list[dict[str, float]]:
    """Milliseconds of requests sent one after the other; each search is the first to see every other query."""
    times: list[list[float]] = [[] for _ in searches]
    for row in range(SINGLE):
        turns = list(zip(searches, times, strict=True))
        for search, taken in turns if row % 2 else turns[::-1]:
            started = time.perf_counter()
            search(queries[row : row + 1])
            taken.append(1e3 * (time.perf_counter() - started))
    kept = [sorted(taken[20:]) for taken in times]
    return [
        {"p50_ms": round(taken[len(taken) // 2], 3), "p99_ms": round(taken[int(0.99 * len(taken))], 3)}
        for taken in kept
    ]


def bare(index: EditableIndex, vectors: Tensor) -> tuple[str, Callable[[Tensor], object]]:
    """The same search with nothing of ours around it."""
    if isinstance(index.settings, Exact):
        return "torch.topk(queries @ vectors.T)", lambda queries: torch.topk(queries @ vectors.T, K, dim=1)
    searcher: Any = index._state.searcher
    parameters = faiss.SearchParametersHNSW(efSearch=searcher.ef_search)
    return "faiss search of the same graph", lambda queries: searcher.graph.index.search(
        queries.numpy(), K, params=parameters
    )


def plain_graph(vectors: Tensor, queries: Tensor, truth: Any) -> list[dict[str, float]]:
    """The library's own inner-product graph, with as many links: what it finds, at what speed."""
    index = faiss.IndexHNSWFlat(WIDTH, 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 80
    started = time.perf_counter()
    index.add(vectors.numpy())
    build_s = time.perf_counter() - started
    rows = []
    for ef_search in (100, 200, 400, 800):
        parameters = faiss.SearchParametersHNSW(efSearch=ef_search)
        scores, found = index.search(queries.numpy(), K, params=parameters)
        part = float(recall(type(truth)(torch.from_numpy(found) + 1, torch.from_numpy(scores)), truth=truth).mean())
        [taken] = seconds(lambda: index.search(queries.numpy(), K, params=parameters), rounds=3)  # noqa: B023
        rows.append({"ef_search": ef_search, "recall": round(part, 4), "queries_per_s": round(BATCH / taken)})
    return [{"build_s": round(build_s, 1)}, *rows]


def filtered(index: EditableIndex, count: int, queries: Tensor, exact: EditableIndex) -> list[dict[str, float]]:
    """Masks from almost all items to almost none, and lists of 100 excluded items."""
    rows = []
    generator = torch.Generator().manual_seed(5)
    filters = {
        f"mask {share:g}": Filter(allowed=torch.rand(count + 1, generator=generator) < share) for share in SHARES
    }
    filters["exclude 100"] = Filter(exclude=exact.search(queries, 100).items)
    for name, filter in filters.items():
        found = index.search(queries, K, filter=filter)
        truth = exact.search(queries, K, filter=filter)
        [batch] = seconds(lambda: index.search(queries, K, filter=filter), rounds=3)  # noqa: B023
        one = filter.take(torch.tensor([0]))
        single = seconds(*[lambda: index.search(queries[:1], K, filter=one)], rounds=30)[0]  # noqa: B023
        rows.append(
            {
                "filter": name,
                "recall": round(float(recall(found, truth=truth).mean()), 4),
                "short_answers": int((found.valid.sum(1) < truth.valid.sum(1)).sum()),
                "queries_per_s": round(BATCH / batch),
                "one_query_ms": round(1e3 * single, 3),
            }
        )
    return rows


def edits(index: EditableIndex, count: int) -> dict[str, float]:
    """Milliseconds to add, replace and remove 1,000 items."""
    new, vectors = torch.arange(count + 1, count + 1_001), catalogue(1_000, seed=9)
    calls = {
        "add_1000_ms": lambda: index.add(new, vectors),
        "replace_1000_ms": lambda: index.replace(new, vectors),
        "remove_1000_ms": lambda: index.remove(new),
    }
    taken = {}
    for name, call in calls.items():
        started = time.perf_counter()
        call()
        taken[name] = round(1e3 * (time.perf_counter() - started), 1)
    return taken


def case(count: int) -> dict[str, object]:
    """Everything about one size."""
    vectors, queries = catalogue(count, seed=0), catalogue(BATCH, seed=1)
    held_out = catalogue(512, seed=2)  # tunes, so that no query below was seen
    items = torch.arange(1, count + 1)
    exact = Exact().build(items, vectors)
    truth = exact.search(queries, K)
    runs = []
    for settings in (Exact(), HNSW(recall=0.95), HNSW(recall=0.99)):
        started = time.perf_counter()
        index = settings.build(items, vectors, queries=held_out)
        build_s = time.perf_counter() - started
        name, library = bare(index, vectors)
        alone, alone_bare = one_by_one(lambda query: index.search(query, K), library, queries=queries)  # noqa: B023
        ours, theirs = seconds(lambda: index.search(queries, K), lambda: library(queries), rounds=7)  # noqa: B023
        runs.append(
            {
                "index": repr(index.tuned),
                "build_s": round(build_s, 2),
                "recall@100": round(float(recall(index.search(queries, K), truth=truth).mean()), 4),
                "bytes_per_item": round(index.report.bytes_per_item),
                "queries_per_s": round(BATCH / ours),
                **alone,
                "bare": {"what": name, "queries_per_s": round(BATCH / theirs), **alone_bare},
                "filters": filtered(index, count, queries, exact),
                "edits": edits(index, count),
            }
        )
        print(json.dumps(runs[-1], indent=2), flush=True)
    return {
        "items": count,
        "width": WIDTH,
        "runs": runs,
        "plain inner-product graph": plain_graph(vectors, queries, truth),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="1M items as well")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "retrieval.json")
    arguments = parser.parse_args()
    from shortlist.machine import facts

    sizes = (100_000, 1_000_000) if arguments.large else (100_000,)
    result = {
        "what": f"top {K} of {BATCH} queries in one call, and {SINGLE} queries one by one; threads as found",
        "machine": {**facts(), "faiss": faiss.__version__, "torch_threads": torch.get_num_threads()},
        "cases": [case(count) for count in sizes],
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
