"""Vectors, clocks and the bare libraries, for retrieval.py."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import faiss
import torch
from torch import Tensor

from shortlist.contracts import Candidates
from shortlist.index import HNSW, IVFPQ, EditableIndex, Exact, ScaNN, recall

WIDTH, K, BATCH, SINGLE = 64, 100, 1_000, 1_000
GROUPS = 400  # of items: as in a shop, some much larger than others


def catalogue(count: int, *, seed: int) -> Tensor:
    """Vectors (count, D) such as trained models give: groups, a decaying spectrum, unequal lengths.

    Measured beside those of MF trained on Gowalla (40,981 items): of the best 100, lists by k-means hold .94 in the
    nearest sixty-fourth for MF's, and .90 here; the lengths' deviation is .21 of their mean for MF's, and .33 here.
    """
    fixed, generator = torch.Generator().manual_seed(5), torch.Generator().manual_seed(seed)
    centres = torch.randn(GROUPS, WIDTH, generator=fixed)
    weights = torch.rand(GROUPS, generator=fixed) ** 2 + 0.02
    groups = torch.multinomial(weights, count, replacement=True, generator=generator)
    vectors = centres[groups] + 0.6 * torch.randn(count, WIDTH, generator=generator)
    lengths = (0.3 * torch.randn(count, 1, generator=generator)).exp()
    return vectors * torch.exp(-torch.arange(WIDTH) / 40) * lengths


def on_threads(number: int) -> None:
    torch.set_num_threads(number)
    faiss.omp_set_num_threads(number)


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
    for row in range(min(SINGLE, len(queries))):
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
    tuned: Any = index.tuned
    if isinstance(tuned, HNSW):
        graph, of_graph = searcher.graph.index, faiss.SearchParametersHNSW(efSearch=tuned.ef_search)
        return "faiss search of the same graph", lambda queries: graph.search(queries.numpy(), K, params=of_graph)
    if isinstance(tuned, IVFPQ):
        of_lists = faiss.IndexRefineSearchParameters(
            k_factor=tuned.k_factor, base_index_params=faiss.SearchParametersIVF(nprobe=tuned.nprobe)
        )
        lists = searcher.clusters.index
        return "faiss search of the same lists", lambda queries: lists.search(queries.numpy(), K, params=of_lists)
    if isinstance(tuned, ScaNN):
        scann, reorder = searcher.library.searcher, tuned.reorder * K
        return "scann search of the same partitions", lambda queries: scann.search_batched(
            queries.numpy(), K, reorder, tuned.leaves_to_search
        )
    trees = searcher.library.trees
    return "annoy search of the same trees", lambda queries: [
        trees.get_nns_by_vector(query, K, tuned.search_k, include_distances=True) for query in queries.tolist()
    ]


def plain_graph(vectors: Tensor, queries: Tensor, truth: Candidates) -> list[dict[str, float]]:
    """The library's own inner-product graph, with as many links: what it finds, at what speed."""
    index = faiss.IndexHNSWFlat(WIDTH, 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 80
    started = time.perf_counter()
    index.add(vectors.numpy())
    rows: list[dict[str, float]] = [{"build_s": round(time.perf_counter() - started, 1)}]
    for ef_search in (100, 200, 400, 800):
        parameters = faiss.SearchParametersHNSW(efSearch=ef_search)
        rows.append({"ef_search": ef_search, **library_point(index, parameters, queries, truth)})
    return rows


def plain_lists(vectors: Tensor, queries: Tensor, truth: Candidates, nlist: int) -> list[dict[str, float]]:
    """The library's own lists for inner products: as many, of codes as long."""
    index = faiss.index_factory(WIDTH, f"IVF{nlist},PQ{WIDTH // 2}x4fsr,RFlat", faiss.METRIC_INNER_PRODUCT)
    started = time.perf_counter()
    index.train(vectors.numpy())
    index.add(vectors.numpy())
    rows: list[dict[str, float]] = [{"build_s": round(time.perf_counter() - started, 1)}]
    for nprobe in (8, 16, 32, 64, 128, 256):
        parameters = faiss.IndexRefineSearchParameters(
            k_factor=4, base_index_params=faiss.SearchParametersIVF(nprobe=nprobe)
        )
        rows.append({"nprobe": nprobe, "k_factor": 4, **library_point(index, parameters, queries, truth)})
    return rows


def library_point(index: Any, parameters: Any, queries: Tensor, truth: Candidates) -> dict[str, float]:
    scores, found = index.search(queries.numpy(), K, params=parameters)
    part = float(recall(Candidates(torch.from_numpy(found) + 1, torch.from_numpy(scores)), truth=truth).mean())
    [taken] = seconds(lambda: index.search(queries.numpy(), K, params=parameters), rounds=3)
    return {"recall": round(part, 4), "queries_per_s": round(len(queries) / taken)}
