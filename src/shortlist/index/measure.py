"""An index and queries into figures: the part of the true best it finds, how fast, how large."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from shortlist.contracts import Candidates, Filter, ItemIndex, SearchSpeed
from shortlist.errors import SearchError
from shortlist.index.checks import checked_vectors
from shortlist.index.table import Table

_SAMPLED = 512  # queries of a report, and of the tuning before it
_BATCHES = 3  # the fastest counts
_TIMED = 200  # requests sent one by one
_TIMED_S = 0.5  # and the time after which no more are sent
_ROUNDING = 1e-5  # libraries add up in different orders: a score is as good as another this near to it, relatively


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What was measured of an index."""

    settings: str
    items: int
    width: int
    k: int
    queries: int
    recall: float  # of the exact k best, the part that was found; equal scores count as equally good
    queries_per_s: float  # all queries in one call, the fastest of three
    p50_ms: float  # one query a call
    p99_ms: float
    build_s: float | None  # None: it was restored, not built
    bytes_per_item: float  # of the arrays it is saved as

    def __str__(self) -> str:
        built = "" if self.build_s is None else f", built in {self.build_s:.1f} s"
        return (
            f"{self.settings}: {self.items:,} items of width {self.width}, recall@{self.k} {self.recall:.3f} on {self.queries} "
            f"queries, {self.queries_per_s:,.0f} queries/s, one query {self.p50_ms:.2f} ms (p99 {self.p99_ms:.2f} ms), "
            f"{self.bytes_per_item:,.0f} bytes an item{built}"
        )


def measure(
    index: ItemIndex,
    *,
    items: Tensor,
    vectors: Tensor,
    queries: Tensor,
    k: int = 100,
    settings: str = "",
    build_s: float | None = None,
) -> IndexReport:
    """Compare ``index`` with exact search of ``items`` (n,) and ``vectors`` (n, D) on ``queries`` (Q, D), and time it.

    ``k`` is cut to the number of items. ``settings`` and ``build_s`` go into the report as they are.
    """
    queries = checked_vectors(queries, what="Queries", width=vectors.shape[1])
    if not len(queries) or not len(items):
        raise SearchError(
            f"Nothing can be measured with {len(queries)} queries and {len(items)} items. Give one of each at least."
        )
    k = min(k, len(items))
    truth = exact(items, vectors, queries=queries, k=k)
    found, batch_s = _timed(index.search, queries, k)
    single = sorted(_one_by_one(index, queries, k))
    return IndexReport(
        settings=settings,
        items=len(items),
        width=vectors.shape[1],
        k=k,
        queries=len(queries),
        recall=float(recall(found, truth=truth).mean()),
        queries_per_s=len(queries) / batch_s,
        p50_ms=1e3 * single[len(single) // 2],
        p99_ms=1e3 * single[math.ceil(0.99 * len(single)) - 1],
        build_s=build_s,
        bytes_per_item=sum(array.nbytes for array in index.arrays().values()) / len(items),
    )


def speeds(
    searches: Mapping[str, Callable[[Tensor, int, Filter], Candidates]], *, queries: Tensor, k: int, used: str
) -> tuple[SearchSpeed, ...]:
    """Recall and speed of each of ``searches`` by its setting, on ``queries`` (Q, D); the one called exact is the truth."""
    timed = {
        setting: _timed(lambda some, width, search=search: search(some, width, Filter()), queries, k)  # type: ignore[misc]
        for setting, search in searches.items()
    }
    truth = timed["exact"][0]
    return tuple(
        SearchSpeed(setting, float(recall(found, truth=truth).mean()), len(queries) / seconds, setting == used)
        for setting, (found, seconds) in timed.items()
    )


def _timed(search: Callable[[Tensor, int], Candidates], queries: Tensor, k: int) -> tuple[Candidates, float]:
    """The answer to all queries in one call, and the fastest of three."""
    search(queries[:1], k)  # the first call starts threads
    seconds = math.inf
    for _ in range(_BATCHES):
        started = time.perf_counter()
        found = search(queries, k)
        seconds = min(seconds, time.perf_counter() - started)
    return found, seconds


def exact(items: Tensor, vectors: Tensor, *, queries: Tensor, k: int) -> Candidates:
    """The true ``k`` best of ``items`` (n,) for each of ``queries`` (Q, D)."""
    return Table.of(items, vectors).search(queries, k, Filter())


def recall(found: Candidates, *, truth: Candidates) -> Tensor:
    """Of each query's best items, the part (B,) that ``found`` holds, whose scores must be true inner products.

    By score, not by name: of two items with equal vectors either will do.

    >>> truth = Candidates(torch.tensor([[7, 5]]), torch.tensor([[2.0, 1.0]]))
    >>> recall(Candidates(torch.tensor([[7, 9]]), torch.tensor([[2.0, 0.5]])), truth=truth).tolist()
    [0.5]
    """
    wanted = truth.valid.sum(1)
    last = truth.scores.masked_fill(~truth.valid, torch.inf).amin(1)  # (B,)
    rounding = _ROUNDING * torch.maximum(last.abs(), truth.scores[:, 0].abs())
    hits = (found.valid & (found.scores >= (last - rounding)[:, None])).sum(1)
    return torch.where(wanted > 0, hits / wanted.clamp(min=1), 1.0)


def sample(vectors: Tensor, *, seed: int) -> Tensor:
    """At most 512 rows of ``vectors`` (N, D), drawn without replacement."""
    order = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(seed))
    return vectors[order[:_SAMPLED]]


def _one_by_one(index: ItemIndex, queries: Tensor, k: int) -> list[float]:
    seconds: list[float] = []
    while len(seconds) < _TIMED and (len(seconds) < 2 or sum(seconds) < _TIMED_S):
        row = len(seconds) % len(queries)
        started = time.perf_counter()
        index.search(queries[row : row + 1], k)
        seconds.append(time.perf_counter() - started)
    return seconds
