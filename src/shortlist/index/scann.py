"""Item vectors into ScaNN's partitions of codes that weigh errors along a vector most; the best by code are scored exactly.

Guo et al. 2020, "Accelerating large-scale inference with anisotropic vector quantization". The partitions are those of
the vectors as they are, by Euclidean distance, and are entered by inner product, so that lengths may be unequal.
"""

from __future__ import annotations

import io
import math
import re
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shortlist.errors import SearchError
from shortlist.index.checks import stored
from shortlist.index.delta import FEWEST, nothing, overlay, restored
from shortlist.index.editable import EditableIndex
from shortlist.index.exact import checked_catalogue, kept_queries, stored_catalogue, stored_queries
from shortlist.index.native import optional_library, sealed, unsealed
from shortlist.index.overfetch import Overfetching
from shortlist.index.table import Table
from shortlist.index.tune import LARGEST_SEED, TUNED_K, Goal, cheapest, check_settings, ladder, warn_unreached

_TRAINED = 100_000  # vectors that partitions are found by, at most
_THRESHOLD = 0.2  # of the anisotropic loss, as its authors set it
_REORDERED = (2, 4, 1, 8, 16, 32, 64)  # times k, the likely ones first
_RESCORED = 4  # work of scoring a vector found by its code, in scans of a code
# Scans that are one effort. Exact search of what a filter lets pass is as fast at 1 scan a vector in a batch, and at 12
# for one query; an answer must not depend on its batch, so that it begins at 3 for both.
_SCANS = 6
_TOGETHER = 64  # queries that are worth threads
_VECTORS = "dataset.npy"  # what ScaNN calls its copy of the vectors
_FILE = re.compile(r"[a-z_]+\.(pb|npy|pbtxt)")  # names of its other files: none is a pickle


@dataclass(frozen=True, slots=True)
class ScaNN:
    """Google's ScaNN; it comes with the extra "scann", for Linux.

    ``recall`` is the part of the exact 100 best that an average query finds. ``leaves_to_search``, the partitions a
    query looks into, and ``reorder``, how many vectors are scored exactly for each that is asked for, are chosen for it
    at the build, on queries held out from the report, unless they are given. ``leaves`` is the number of partitions;
    None: about 2 √n. It knows no filters: under one it finds more and leaves some out. It keeps a second copy of the
    vectors in memory, and none in a bundle. A build writes two lines to standard error, which ScaNN cannot be kept from.
    """

    recall: float = 0.95
    leaves: int | None = None
    leaves_to_search: int | None = None  # None: tuned to ``recall``
    reorder: int | None = None  # None: tuned to ``recall``
    seed: int = 0

    def __post_init__(self) -> None:
        ranges = {
            "leaves": (1, 2**20),
            "leaves_to_search": (1, 2**20),
            "reorder": (1, 10_000),
            "seed": (0, LARGEST_SEED),
        }
        check_settings(self, recall=self.recall, ranges=ranges)

    def build(self, items: Tensor, vectors: Tensor, *, queries: Tensor | None = None) -> EditableIndex:
        """An index of ``items`` (n,) with ``vectors`` (n, D); ``queries`` (Q, D) tune and measure it,
        as for :class:`~shortlist.index.HNSW`.

        Warns (ShortlistWarning) where the wanted recall cannot be reached.
        """
        library = _scann()
        started = time.perf_counter()
        items, vectors = checked_catalogue(items, vectors)
        kept = kept_queries(queries, vectors)
        leaves = max(1, round(2 * len(vectors) ** 0.5)) if self.leaves is None else min(self.leaves, len(vectors))
        searcher = None
        if len(vectors) >= FEWEST:
            builder = library.builder(vectors.numpy(), TUNED_K, "dot_product")
            # Centres that start at random are another set each time, whatever the seed.
            builder.tree(leaves, 1, training_sample_size=min(_TRAINED, len(vectors)), random_init=False)
            builder.score_ah(2, anisotropic_quantization_threshold=_THRESHOLD).reorder(TUNED_K)
            config = _seeded(builder.create_config(), self.seed)
            searcher = library.create_searcher(vectors.numpy(), config, torch.get_num_threads())
        leaves_to_search, reorder = self._tuned(Partitions(searcher, vectors, leaves, 1, 1), kept)
        partitions = Partitions(searcher, vectors, leaves, leaves_to_search, reorder)
        state = overlay(Table.of(items, vectors), Overfetching(partitions))
        return EditableIndex(
            self, state, tuned=self._chosen(partitions), queries=kept, build_s=time.perf_counter() - started
        )

    def restore(self, arrays: dict[str, Tensor]) -> EditableIndex:
        """The index whose ``arrays()`` these are; files that are not as they were written never reach ScaNN."""
        library = _scann()
        items, vectors = stored_catalogue(arrays)
        numbers = [int(stored(arrays, name, torch.int64, ndim=0)) for name in ("leaves", "leaves_to_search", "reorder")]
        if min(numbers) < 1:
            raise SearchError(f"A saved index has leaves, leaves_to_search and reorder {numbers}. They are 1 or more.")
        files = unsealed(arrays, "files").tobytes()
        partitions = Partitions(_loaded(library, files, vectors) if files else None, vectors, *numbers)
        state = restored(arrays, Overfetching(partitions), items=items, vectors=vectors)
        return EditableIndex(self, state, tuned=self._chosen(partitions), queries=stored_queries(arrays, vectors))

    def _chosen(self, partitions: Partitions) -> ScaNN:
        return replace(
            self,
            leaves=partitions.leaves,
            leaves_to_search=partitions.leaves_to_search,
            reorder=partitions.reorder,
        )

    def _tuned(self, partitions: Partitions, queries: Tensor | None) -> tuple[int, int]:
        """The ``leaves_to_search`` and ``reorder`` of least work that reach the recall."""
        if partitions.searcher is None:
            return 1, 1
        if self.leaves_to_search is not None and self.reorder is not None:
            return self.leaves_to_search, self.reorder
        goal = Goal.of(partitions.vectors, queries=queries, wanted=self.recall, seed=self.seed)
        searched = ladder(1, partitions.leaves) if self.leaves_to_search is None else [self.leaves_to_search]
        reorders = _REORDERED if self.reorder is None else (self.reorder,)
        (leaves_to_search, reorder), short = cheapest(
            goal,
            [[(leaves, reorder) for leaves in searched] for reorder in reorders],
            lambda rung: partitions.searched(goal.queries, goal.k, rung[0], rung[1] * goal.k),
            lambda rung: partitions.work(rung[0], rung[1] * goal.k),
        )
        if short is not None:
            used = f"leaves_to_search={leaves_to_search} of {partitions.leaves} and reorder={reorder}"
            warn_unreached("ScaNN", goal, short, used=used, advice="Leave leaves_to_search and reorder to it")
        return leaves_to_search, reorder


@dataclass(frozen=True, slots=True)
class Partitions:
    """ScaNN's index with its vectors and settings: an :class:`~shortlist.index.overfetch.Unfiltered` library.

    Without a ``searcher`` nothing is found, and all is left to exact search.
    """

    searcher: Any
    vectors: Tensor  # (n, D)
    leaves: int
    leaves_to_search: int
    reorder: int

    def __len__(self) -> int:
        return len(self.vectors)

    def nearest(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Scores and rows (B, k), as tuned."""
        return self.searched(queries, k, *self._reach(k))

    def effort(self, k: int) -> float:
        """The work of that, in exact scores."""
        return self.work(*self._reach(k)) / _SCANS

    def arrays(self) -> dict[str, Tensor]:
        """What it was read from, and its settings."""
        return {
            "files": sealed(np.frombuffer(b"" if self.searcher is None else _saved(self.searcher), dtype=np.uint8)),
            "leaves": torch.tensor(self.leaves),
            "leaves_to_search": torch.tensor(self.leaves_to_search),
            "reorder": torch.tensor(self.reorder),
        }

    def searched(self, queries: Tensor, k: int, leaves_to_search: int, reorder: int) -> tuple[Tensor, Tensor]:
        """Scores and rows (B, k), best first; ScaNN ends the process where k or ``reorder`` is beyond n."""
        if self.searcher is None:
            return nothing(queries, k)
        is_parallel = torch.get_num_threads() > 1 and len(queries) >= _TOGETHER
        search = self.searcher.search_batched_parallel if is_parallel else self.searcher.search_batched
        count = len(self.vectors)
        rows, scores = search(queries.numpy(), min(k, count), min(reorder, count), min(leaves_to_search, self.leaves))
        if np.isnan(scores[:, -1]).any():  # what is missing comes last, as row 0
            is_missing = np.isnan(scores)
            return torch.from_numpy(np.where(is_missing, -np.inf, scores)), torch.from_numpy(
                np.where(is_missing, -1, rows.astype(np.int64))
            )
        return torch.from_numpy(scores), torch.from_numpy(rows.astype(np.int64))

    def work(self, leaves_to_search: int, reorder: int) -> float:
        """Scans of a code: all centres, the codes of the partitions looked into, the exact scores."""
        part = min(leaves_to_search, self.leaves) / self.leaves
        return self.leaves + part * len(self.vectors) + _RESCORED * reorder

    def variants(self) -> Iterator[tuple[str, Partitions]]:
        """Half, double, … the ``leaves_to_search``, within those there are."""
        for step in range(-4, 5):
            leaves = round(self.leaves_to_search * 2**step)
            if step and self.searcher is not None and 1 <= leaves <= self.leaves:
                yield f"leaves_to_search={leaves}", replace(self, leaves_to_search=leaves)

    def _reach(self, k: int) -> tuple[int, int]:
        """Partitions and exact scores: beyond the k it was tuned for more in proportion, for a smaller one as many."""
        return math.ceil(self.leaves_to_search * max(1.0, k / TUNED_K)), self.reorder * max(k, TUNED_K)


def _scann() -> Any:
    return optional_library("scann", extra="scann").scann_ops_pybind


def _seeded(config: str, seed: int) -> str:
    """ScaNN's settings, a text, with the seed that its builder has no argument for."""
    for part in ("partitioning {", "asymmetric_hash {"):
        before, found, after = config.partition(part)
        assert found, f"ScaNN's settings have no part {part!r}"
        config = f"{before}{part} clustering_seed: {seed} {after}"
    return config


def _saved(searcher: Any) -> bytes:
    """ScaNN's files but for the vectors, as an archive."""
    archive = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(archive, "w") as writer:
        searcher.serialize(folder, relative_path=True)
        for file in sorted(Path(folder).iterdir()):
            if file.name != _VECTORS:
                writer.writestr(zipfile.ZipInfo(file.name), file.read_bytes())
    return archive.getvalue()


def _loaded(library: Any, files: bytes, vectors: Tensor) -> Any:
    """ScaNN's index from the ``files`` it wrote, with ``vectors`` (n, D) beside them."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(io.BytesIO(files)) as reader:
        for name in reader.namelist():
            if not _FILE.fullmatch(name):
                raise SearchError(f"A saved index holds the file {name!r}, which ScaNN does not write. It is refused.")
            (Path(folder) / name).write_bytes(reader.read(name))
        np.save(Path(folder) / _VECTORS, vectors.numpy(), allow_pickle=False)
        return library.load_searcher(folder, assets_backcompat_shim=False)
