"""Item vectors into results/retrieval.json: build, recall, speed, filters and edits of every index, beside the bare library.

python benchmarks/retrieval.py                                       # 100k items of width 64, every index
python benchmarks/retrieval.py --items 1000000 --only Exact IVFPQ    # what is measured joins what is in the file
python benchmarks/retrieval.py --choice                              # exact search beside IVFPQ by number of items
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import faiss
import torch
from retrieval_libraries import (
    BATCH,
    SINGLE,
    WIDTH,
    K,
    bare,
    catalogue,
    on_threads,
    one_by_one,
    plain_graph,
    plain_lists,
    seconds,
)
from torch import Tensor

from shortlist.contracts import Filter
from shortlist.index import HNSW, IVFPQ, Annoy, AnyIndex, EditableIndex, Exact, ScaNN, recall

SHARES = (0.99, 0.9, 0.5, 0.1, 0.01, 0.001, 0.0001)  # of the items that a mask lets pass
INDEXES: tuple[AnyIndex, ...] = (
    Exact(), IVFPQ(recall=0.95), IVFPQ(recall=0.99), HNSW(recall=0.95), HNSW(recall=0.99),
    ScaNN(recall=0.95), ScaNN(recall=0.99), Annoy(recall=0.95),
)  # fmt: skip


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
                "queries_per_s": round(len(queries) / batch),
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


def churn(settings: AnyIndex, count: int, queries: Tensor, held_out: Tensor) -> dict[str, float]:
    """Twice the catalogue comes and goes in steps of a tenth, while somebody searches; then beside a fresh build."""
    vectors = catalogue(3 * count, seed=11)
    index = settings.build(torch.arange(1, count + 1), vectors[:count], queries=held_out)
    stop = threading.Event()
    searches: list[float] = []
    writes: list[float] = []

    def read() -> None:
        while not stop.is_set():
            started = time.perf_counter()
            index.search(queries[:1], K)
            searches.append(1e3 * (time.perf_counter() - started))

    reader = threading.Thread(target=read)
    reader.start()
    began = time.perf_counter()
    step = count // 10
    for number in range(20):
        new = torch.arange(count + number * step + 1, count + (number + 1) * step + 1)
        for call in (lambda: index.add(new, vectors[new - 1]), lambda: index.remove(new - count)):  # noqa: B023
            started = time.perf_counter()
            call()
            writes.append(1e3 * (time.perf_counter() - started))
    edited_s = time.perf_counter() - began
    if index._compaction is not None:
        index._compaction.join()
    settled_s = time.perf_counter() - began
    stop.set()
    reader.join()
    items = torch.arange(2 * count + 1, 3 * count + 1)
    truth = Exact().build(items, vectors[items - 1]).search(queries, K)
    fresh = settings.build(items, vectors[items - 1], queries=held_out)
    return {
        "recall": round(float(recall(index.search(queries, K), truth=truth).mean()), 4),
        "recall_of_a_fresh_build": round(float(recall(fresh.search(queries, K), truth=truth).mean()), 4),
        "edits_s": round(edited_s, 1),
        "until_compacted_s": round(settled_s, 1),
        "longest_edit_ms": round(max(writes), 1),
        "search_p50_ms": round(statistics.median(searches), 3),
        "search_p99_ms": round(sorted(searches)[int(0.99 * len(searches))], 3),
    }


def case(count: int, only: list[str]) -> dict[str, Any]:
    """Everything about one size."""
    vectors, queries = catalogue(count, seed=0), catalogue(BATCH if count <= 200_000 else BATCH // 5, seed=1)
    held_out = catalogue(512, seed=2)  # tunes, so that no query below was seen
    items = torch.arange(1, count + 1)
    exact = Exact().build(items, vectors)
    truth = exact.search(queries, K)
    runs = []
    cores, nlist = torch.get_num_threads(), 1
    for settings in [known for known in INDEXES if not only or type(known).__name__ in only]:
        started = time.perf_counter()
        index = settings.build(items, vectors, queries=held_out)
        build_s = time.perf_counter() - started
        nlist = getattr(index.tuned, "nlist", nlist)
        name, library = bare(index, vectors)
        [all_cores] = seconds(lambda: index.search(queries, K), rounds=3)  # noqa: B023
        on_threads(1)
        alone, alone_bare = one_by_one(lambda query: index.search(query, K), library, queries=queries)  # noqa: B023
        ours, theirs = seconds(lambda: index.search(queries, K), lambda: library(queries), rounds=7)  # noqa: B023
        runs.append(
            {
                "index": repr(index.tuned),
                "build_s": round(build_s, 2),
                "recall@100": round(float(recall(index.search(queries, K), truth=truth).mean()), 4),
                "bytes_per_item": round(index.report.bytes_per_item),
                f"queries_per_s_on_{cores}_threads": round(len(queries) / all_cores),
                "queries_per_s": round(len(queries) / ours),
                **alone,
                "bare": {"what": name, "queries_per_s": round(len(queries) / theirs), **alone_bare},
                "filters": filtered(index, count, queries, exact),
                "edits": edits(index, count),
            }
        )
        on_threads(cores)
        if getattr(settings, "recall", 0.95) == 0.95 and count <= 100_000:
            runs[-1]["churn"] = churn(settings, count, queries, held_out)
        print(json.dumps(runs[-1], indent=2), flush=True)
    on_threads(1)
    result: dict[str, Any] = {"items": count, "width": WIDTH, "runs": runs}
    if not only or "IVFPQ" in only:
        result["faiss's own lists"] = plain_lists(vectors, queries, truth, nlist)
    if (not only or "HNSW" in only) and count <= 100_000:
        result["faiss's own graph"] = plain_graph(vectors, queries, truth)
    on_threads(cores)
    return result


def joined(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """A case with the runs of other indexes that were measured before."""
    measured = {run["index"].partition("(")[0] for run in now["runs"]}
    kept = [run for run in before.get("runs", []) if run["index"].partition("(")[0] not in measured]
    order = [type(each).__name__ for each in INDEXES]
    runs = sorted([*kept, *now["runs"]], key=lambda run: order.index(run["index"].partition("(")[0]))
    return {**before, **now, "runs": runs}


def choice() -> list[dict[str, object]]:
    """Exact search beside IVFPQ on one thread, by number of items: from where "auto" should take which."""
    rows = []
    cores = torch.get_num_threads()
    queries, held_out = catalogue(BATCH, seed=1), catalogue(512, seed=2)
    for count in (10_000, 25_000, 50_000, 100_000, 200_000):
        vectors, items = catalogue(count, seed=0), torch.arange(1, count + 1)
        exact, started = Exact().build(items, vectors), time.perf_counter()
        lists = IVFPQ().build(items, vectors, queries=held_out)
        build_s = time.perf_counter() - started
        on_threads(1)
        single = one_by_one(
            lambda query: exact.search(query, K),  # noqa: B023
            lambda query: lists.search(query, K),  # noqa: B023
            queries=queries,
        )
        batch = seconds(lambda: exact.search(queries, K), lambda: lists.search(queries, K), rounds=3)  # noqa: B023
        on_threads(cores)
        exact_row, lists_row = (
            {**alone, "queries_per_s": round(BATCH / taken)} for alone, taken in zip(single, batch, strict=True)
        )
        rows.append({"items": count, "Exact": exact_row, "IVFPQ": {**lists_row, "build_s": round(build_s, 2)}})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[100_000])
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", choices=[type(each).__name__ for each in INDEXES]
    )
    parser.add_argument("--choice", action="store_true", help="only exact search beside IVFPQ by number of items")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "retrieval.json")
    arguments = parser.parse_args()
    from shortlist.machine import facts

    result = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {"cases": []}
    result["what"] = (
        f"top {K} of {BATCH} queries in one call (a fifth of them where items are many), and as many as {SINGLE} one by one, "
        "on one thread; builds on all threads"
    )
    result["machine"] = {**facts(), "faiss": faiss.__version__, "torch_threads": torch.get_num_threads()}
    if arguments.choice:
        result["choice"] = choice()
    else:
        for count in arguments.items:
            cases = {each["items"]: each for each in result["cases"]}
            cases[count] = joined(cases.get(count, {}), case(count, arguments.only))
            result["cases"] = [cases[size] for size in sorted(cases)]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
