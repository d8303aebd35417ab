"""Item vectors into clusters of short codes that FAISS scans; the best by code are scored exactly.

Inverted lists and product quantisation: Jégou, Douze & Schmid 2011, "Product quantization for nearest neighbor search".
The codes have 4 bits and are compared in registers: André, Kermarrec & Le Scouarnec 2015, "Cache locality is not
enough: high-performance nearest neighbor search with product quantization fast scan". In FAISS's words it is
``IVFn,PQMx4fsr,RFlat``, but for the clusters. FAISS normalises their centres for inner products, and where lengths are
unequal the longest vectors, which most queries ask for, are then spread over all clusters. Here the clusters are those
of the vectors as they are, by Euclidean distance, and a query looks into those whose centres have the largest inner
product with it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shortlist.errors import SearchError
from shortlist.index.checks import stored
from shortlist.index.delta import FEWEST, Among, nothing, overlay, restored
from shortlist.index.editable import EditableIndex
from shortlist.index.exact import checked_catalogue, kept_queries, stored_catalogue, stored_queries
from shortlist.index.native import faiss, flat_index, sealed, unsealed
from shortlist.index.table import Table
from shortlist.index.tune import LARGEST_SEED, TUNED_K, Goal, cheapest, check_settings, ladder, warn_unreached

_CODES = 16  # of each part of a vector: 4 bits
_WIDE = 256  # vectors of this width are cut into parts of 4 values, others into parts of 2
_IN_LIST = 32  # vectors of a cluster at least, on average: so many are scanned at once
_TRAINED = 64  # vectors by which a cluster's centre is found
_TRAINED_CODE = 256  # and the values of a code
_K_FACTORS = (4, 2, 8, 1, 16, 32, 64)  # the likely ones first
_RESCORED = 8  # work of scoring a vector found by its code, in scans of a code
# Scans that are one effort. Exact search of what a filter lets pass is as fast at 1 scan a vector in a batch, and at 12
# for one query; an answer must not depend on its batch, so that it begins at 3 for both.
_SCANS = 6


@dataclass(frozen=True, slots=True)
class IVFPQ:
    """Clusters of 4-bit codes, scanned by FAISS, and exact scores of the best by code.

    ``recall`` is the part of the exact 100 best that an average query finds. ``nprobe``, the clusters a query looks
    into, and ``k_factor``, how many vectors are scored exactly for each that is asked for, are chosen for it at the
    build, on queries held out from the report, unless they are given. ``nlist`` is the number of clusters; None: about
    4 √n, a power of 2. The least memory and, from some 100,000 items, the fastest here: beside the vectors it takes a
    quarter of a byte for each value and 8 bytes for each item.
    """

    recall: float = 0.95
    nlist: int | None = None
    nprobe: int | None = None  # None: tuned to ``recall``
    k_factor: int | None = None  # None: tuned to ``recall``
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(
            self,
            recall=self.recall,
            ranges={"nlist": (1, 2**20), "nprobe": (1, 2**20), "k_factor": (1, 10_000), "seed": (0, LARGEST_SEED)},
        )

    def build(self, items: Tensor, vectors: Tensor, *, queries: Tensor | None = None) -> EditableIndex:
        """An index of ``items`` (n,) with ``vectors`` (n, D); ``queries`` (Q, D) tune and measure it,
        as for :class:`~shortlist.index.HNSW`.

        Warns (ShortlistWarning) where the wanted recall cannot be reached.
        """
        started = time.perf_counter()
        items, vectors = checked_catalogue(items, vectors)
        kept = kept_queries(queries, vectors)
        clusters = Clusters(_clustered(vectors, nlist=self.nlist, seed=self.seed), vectors)
        nprobe, k_factor = self._tuned(clusters, kept)
        state = overlay(Table.of(items, clusters.vectors), _Tuned(clusters, nprobe, k_factor))
        tuned = replace(self, nlist=clusters.nlist, nprobe=nprobe, k_factor=k_factor)
        return EditableIndex(self, state, tuned=tuned, queries=kept, build_s=time.perf_counter() - started)

    def restore(self, arrays: dict[str, Tensor]) -> EditableIndex:
        """The index whose ``arrays()`` these are; clusters that are not as they were written never reach FAISS."""
        items, vectors = stored_catalogue(arrays)
        nprobe = int(stored(arrays, "nprobe", torch.int64, ndim=0))
        k_factor = int(stored(arrays, "k_factor", torch.int64, ndim=0))
        if nprobe < 1 or k_factor < 1:
            raise SearchError(f"A saved index has nprobe {nprobe} and k_factor {k_factor}. They are 1 or more.")
        codes = unsealed(arrays, "codes")
        clusters = Clusters(faiss.deserialize_index(codes) if len(codes) else None, vectors)
        state = restored(arrays, _Tuned(clusters, nprobe, k_factor), items=items, vectors=clusters.vectors)
        tuned = replace(self, nlist=clusters.nlist, nprobe=nprobe, k_factor=k_factor)
        return EditableIndex(self, state, tuned=tuned, queries=stored_queries(arrays, vectors))

    def _tuned(self, clusters: Clusters, queries: Tensor | None) -> tuple[int, int]:
        """The ``nprobe`` and ``k_factor`` of least work that reach the recall."""
        if clusters.codes is None:
            return 1, 1
        if self.nprobe is not None and self.k_factor is not None:
            return self.nprobe, self.k_factor
        goal = Goal.of(clusters.vectors, queries=queries, wanted=self.recall, seed=self.seed)
        nprobes = ladder(1, clusters.nlist) if self.nprobe is None else [self.nprobe]
        k_factors = _K_FACTORS if self.k_factor is None else (self.k_factor,)
        (nprobe, k_factor), short = cheapest(
            goal,
            [[(nprobe, k_factor) for nprobe in nprobes] for k_factor in k_factors],
            lambda rung: clusters.nearest(goal.queries, goal.k, nprobe=rung[0], rescored=rung[1] * goal.k),
            lambda rung: clusters.work(nprobe=rung[0], rescored=rung[1] * goal.k),
        )
        if short is not None:
            used = f"nprobe={nprobe} of {clusters.nlist} and k_factor={k_factor}"
            warn_unreached("IVFPQ", goal, short, used=used, advice="Leave nprobe and k_factor to it")
        return nprobe, k_factor


class Clusters:
    """Codes in clusters with their vectors, ready to search. It never changes; several threads may search it at once."""

    def __init__(self, codes: Any, vectors: Tensor) -> None:
        """Join FAISS's index of ``codes`` with checked ``vectors`` (n, D), which stay where they are.

        Without codes nothing is found, and all is left to exact search.
        """
        count, width = vectors.shape
        self.codes, self.vectors, self.nlist = codes, vectors, 1
        self._parameters: dict[tuple[int, int, int], Any] = {}  # making them takes as long as all else around a search
        if codes is None:
            return
        if not isinstance(codes, faiss.IndexIVFPQFastScan) or (codes.ntotal, codes.d) != (count, width):
            raise SearchError("The clusters of a saved index do not fit its vectors. Build the index again.")
        self.nlist = codes.nlist
        self.index = faiss.IndexRefine(codes, flat_index(vectors))

    def work(self, *, nprobe: int, rescored: int) -> float:
        """The work of a search in scans of a code: all centres, the codes of ``nprobe`` clusters, the exact scores."""
        return self.nlist + min(nprobe, self.nlist) / self.nlist * len(self.vectors) + _RESCORED * rescored

    def nearest(
        self, queries: Tensor, k: int, *, nprobe: int, rescored: int, among: Among | None = None
    ) -> tuple[Tensor, Tensor]:
        """Scores and rows (B, k), best first, of the ``rescored`` best by code in the ``nprobe`` nearest clusters.

        Where fewer are found, the rest is -1 with score -inf.
        """
        if self.codes is None:
            return nothing(queries, k)
        key = (k, nprobe, rescored)
        parameters = self._parameters.get(key) if among is None else None
        if parameters is None:
            selector = None if among is None else faiss.IDSelectorBitmap(among.bitmap)
            parameters = faiss.IndexRefineSearchParameters(
                k_factor=(rescored + 0.5) / k,  # FAISS rounds its product with k down
                base_index_params=faiss.SearchParametersIVF(nprobe=nprobe, sel=selector),
            )
            if among is None:
                parameters = self._parameters.setdefault(key, parameters)
        scores, rows = self.index.search(queries.numpy(), k, params=parameters)
        if rows[:, -1].min() < 0:
            scores[rows < 0] = -np.inf
        return torch.from_numpy(scores), torch.from_numpy(rows)


@dataclass(frozen=True, slots=True)
class _Tuned:
    """Clusters with the settings they are searched with: a :class:`~shortlist.index.delta.Searcher`."""

    clusters: Clusters
    nprobe: int
    k_factor: int

    def nearest(self, queries: Tensor, k: int, *, spare: int, among: Among | None) -> tuple[Tensor, Tensor]:
        nprobe, rescored = self._reach(k, spare, 1.0 if among is None else among.share)
        return self.clusters.nearest(queries, k, nprobe=nprobe, rescored=rescored, among=among)

    def effort(self, k: int, *, spare: int, share: float) -> float:
        nprobe, rescored = self._reach(k, spare, share)
        return self.clusters.work(nprobe=nprobe, rescored=rescored) / _SCANS

    def arrays(self) -> dict[str, Tensor]:
        codes = self.clusters.codes
        data = np.empty(0, dtype=np.uint8) if codes is None else faiss.serialize_index(codes)
        return {
            "codes": sealed(data),
            "nprobe": torch.tensor(self.nprobe),
            "k_factor": torch.tensor(self.k_factor),
        }

    def variants(self) -> Iterator[tuple[str, _Tuned]]:
        """Half, double, … the ``nprobe``, within the clusters there are."""
        for step in range(-4, 5):
            nprobe = round(self.nprobe * 2**step)
            if step and self.clusters.codes is not None and 1 <= nprobe <= self.clusters.nlist:
                yield f"nprobe={nprobe}", replace(self, nprobe=nprobe)

    def _reach(self, k: int, spare: int, share: float) -> tuple[int, int]:
        """Clusters and exact scores: more where a share may answer, and beyond the k it was tuned for.

        For the answer as the root of its length: with it the recall of the 200 best and of the 500 best stays that of the
        100 best, where twice and five times as many of both would raise it at 1.4 times the time. For the ``spare`` in
        proportion: those behind the best are farther from the query, and found as often only so.
        """
        clusters, answered = self.clusters, max(k - spare, TUNED_K)
        more = (answered / TUNED_K) ** 0.5 * max(1.0, k / answered)
        nprobe = math.ceil(self.nprobe * more / share)
        rescored = math.ceil(self.k_factor * TUNED_K * more)
        return min(nprobe, clusters.nlist), max(k, min(rescored, math.ceil(share * len(clusters.vectors))))


def _clustered(vectors: Tensor, *, nlist: int | None, seed: int) -> Any:
    """FAISS's index of the codes of checked ``vectors`` (n, D), or None where there is too little to tell apart."""
    count, width = vectors.shape
    if count < FEWEST:
        return None
    if nlist is None:
        nlist = min(2 ** round(math.log2(4 * count**0.5)), max(1, count // _IN_LIST))
    nlist = min(nlist, count)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    centres = _centres(vectors[order[: _TRAINED * nlist]], nlist=nlist, seed=seed)
    codes = faiss.IndexIVFPQFastScan(
        centres, width, nlist, width // _part(width), int(math.log2(_CODES)), faiss.METRIC_INNER_PRODUCT
    )
    codes.by_residual = True
    codes.pq.cp.seed, codes.pq.cp.min_points_per_centroid = seed, 1  # few points are no cause for a message
    with _one_thread():  # of so little work two threads make more: 90 times the time where others use the processor too
        codes.train(vectors[order[: _TRAINED_CODE * _CODES]].numpy())
    if not faiss.vector_to_array(codes.pq.centroids).any():
        return None  # all equal, or no more different ones than clusters: codes say nothing
    codes.add(vectors.numpy())
    by_product = faiss.IndexFlatIP(width)
    by_product.add(faiss.vector_to_array(centres.codes).view(np.float32).reshape(nlist, width))
    codes.quantizer = by_product
    codes.own_fields = False
    codes.referenced_objects = [by_product]  # lives as long as the codes
    return codes


def _centres(vectors: Tensor, *, nlist: int, seed: int) -> Any:
    """FAISS's index of ``nlist`` centres of ``vectors`` (m, D) by k-means, searched by Euclidean distance."""
    centres = faiss.IndexFlatL2(vectors.shape[1])
    settings = faiss.ClusteringParameters()
    settings.niter, settings.seed = 10, seed
    settings.min_points_per_centroid = 1
    faiss.Clustering(vectors.shape[1], nlist, settings).train(vectors.numpy(), centres)
    return centres


@contextmanager
def _one_thread() -> Iterator[None]:
    """FAISS, as called by this thread alone, on one thread."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _part(width: int) -> int:
    """How many values of a vector share a code: a divisor of its ``width``."""
    return next(part for part in ((4,) if width >= _WIDE else ()) + (2, 3, 1) if width % part == 0)
