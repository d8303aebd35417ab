"""A library's index that cannot be edited, and what changed since it was built, into one exact-where-needed answer.

Items added later lie in a small table beside it that is searched exactly; removed ones stay in it and are passed over.
It does not know which library searches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shortlist.contracts import Candidates, Filter
from shortlist.errors import SearchError
from shortlist.index.checks import checked_items, checked_vectors, stored
from shortlist.index.table import Table, candidates, contains, merged

# A search's scattered inner products cost half (one request) to eight times (a batch) as much as exact search's.
_SCATTERED = 2

FEWEST = 256  # vectors below which a library has nothing to save


class Among:
    """The rows that may be answered, of n. It never changes."""

    def __init__(self, rows: Tensor) -> None:
        """Take ``rows`` (n,) bool."""
        self.rows = rows
        self.count = int(torch.count_nonzero(rows))

    @property
    def share(self) -> float:
        """The part of all rows."""
        return self.count / max(1, len(self.rows))

    @cached_property
    def bitmap(self) -> npt.NDArray[np.uint8]:
        """One bit for each row, the first row lowest, as FAISS reads it."""
        return np.packbits(self.rows.numpy(), bitorder="little")

    def both(self, rows: Tensor) -> Among:
        """Those of them that are among ``rows`` (n,) bool too."""
        return Among(self.rows & rows)


class Searcher(Protocol):
    """A library's index over n vectors, by row. It never changes, and several threads may search it at once."""

    def nearest(self, queries: Tensor, k: int, *, spare: int, among: Among | None) -> tuple[Tensor, Tensor]:
        """Scores and rows (B, k) for one query or more, best first; -inf and -1 where nothing was found.

        Of the k, ``spare`` are for those that will be left out: the answer is the others, however far down they are.
        ``among`` says which rows may be answered, k of them or more; None: all n, which are k or more.
        """
        ...

    def effort(self, k: int, *, spare: int, share: float) -> float:
        """How many vectors ``nearest`` scores for one query, about, where ``share`` of the rows may be answered.

        Where exact search scores fewer, that is done.
        """
        ...

    def arrays(self) -> dict[str, Tensor]:
        """All it needs to be restored, but the vectors."""
        ...

    def variants(self) -> Iterator[tuple[str, Searcher]]:
        """The same with less and with more effort, each by the name of its setting."""
        ...


@dataclass(frozen=True, slots=True)
class Overlay:
    """A searcher over the vectors of ``main``, and the items added since it was built. An edit makes a new one."""

    main: Table
    searcher: Searcher
    delta: Table
    open: Among | None = None  # rows of main that are not removed; None: all

    def __len__(self) -> int:
        return len(self.main) + len(self.delta)

    @property
    def width(self) -> int:
        """D."""
        return self.main.width

    @property
    def last_item(self) -> int:
        """The largest item index that has, or had, a row."""
        return max(self.main.last_item, self.delta.last_item)

    @property
    def num_edits(self) -> int:
        """Rows that were added or removed since the build."""
        return len(self.delta) + self.main.num_removed

    def holds(self, items: Tensor) -> Tensor:
        """Which of ``items`` (N,) can be answered."""
        return self.main.holds(items) | self.delta.holds(items)

    def alive(self) -> tuple[Tensor, Tensor]:
        """Items (n',) and vectors (n', D) that can be answered."""
        parts = (self.main.alive(), self.delta.alive())
        return torch.cat([items for items, _ in parts]), torch.cat([vectors for _, vectors in parts])

    def parts(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """The items (n,), 0 where a row was removed, and vectors (n, D), of what was built and of what was added."""
        return self.main.parts() + self.delta.parts()

    def variants(self) -> Iterator[tuple[str, Overlay]]:
        """The same searched with less and with more effort, each by the name of its setting."""
        for setting, searcher in self.searcher.variants():
            yield setting, replace(self, searcher=searcher)

    def vectors_of(self, items: Tensor) -> Tensor:
        """The vectors (N, D) of ``items`` (N,) that are here."""
        added = self.delta.holds(items)
        vectors = self.main.vectors.new_empty((len(items), self.width))
        vectors[added] = self.delta.vectors_of(items[added])
        vectors[~added] = self.main.vectors_of(items[~added])
        return vectors

    def plus(self, items: Tensor, vectors: Tensor) -> Overlay:
        """With ``items`` in it; those that were here get the new vectors."""
        return replace(self._closed(items), delta=self.delta.plus(items, vectors))

    def minus(self, items: Tensor) -> Overlay:
        """Without ``items``."""
        delta = self.delta.minus(items)
        return replace(self._closed(items), delta=delta if delta is self.delta else Table.of(*delta.alive()))

    def _closed(self, items: Tensor) -> Overlay:
        main = self.main.minus(items)
        return self if main is self.main else replace(self, main=main, open=_open(main))

    def arrays(self) -> dict[str, Tensor]:
        """Items and vectors of both parts, and the searcher's own."""
        return {
            "items": self.main.marked(),
            "vectors": self.main.vectors,
            "delta_items": self.delta.items,
            "delta_vectors": self.delta.vectors,
            **self.searcher.arrays(),
        }

    def search(self, queries: Tensor, k: int, filter: Filter, /) -> Candidates:
        """The ``k`` best for each of ``queries`` (B, D), never fewer than there are where that is less than k."""
        found = self._search_main(queries, k, filter)
        return merged(found, self.delta.search(queries, k, filter), k) if len(self.delta.items) else found

    def _search_main(self, queries: Tensor, k: int, filter: Filter) -> Candidates:
        among = self.open
        if filter.allowed is not None:
            if filter.allowed.dtype != torch.bool:
                return self.main.search(queries, k, filter)  # lists are short beside the catalogue: scored one by one
            passing = self.main.passing(filter.allowed)
            among = Among(passing) if among is None else among.both(passing)
        if filter.exclude is None or not filter.exclude.shape[1]:
            return self._search_group(queries, k, filter, among, fetch=k, exclude=None)
        # Requests are searched with those that exclude about as many items, so that one long list slows only itself.
        exclude = self.main.find(filter.exclude)  # (B, X)
        known = np.count_nonzero(exclude.numpy() < len(self.main.items), axis=1).tolist()
        extra = [1 << (count - 1).bit_length() if count else 0 for count in known]  # the next power of 2
        groups = sorted(set(extra))
        if len(groups) == 1:
            (more,) = groups
            return self._search_group(queries, k, filter, among, fetch=k + more, exclude=exclude if more else None)
        found = Candidates(torch.empty((len(queries), k), dtype=torch.int64), torch.empty((len(queries), k)))
        for more in groups:
            rows = torch.tensor([row for row, each in enumerate(extra) if each == more])
            group_exclude = exclude[rows] if more else None
            part = self._search_group(queries[rows], k, filter.take(rows), among, fetch=k + more, exclude=group_exclude)
            found.items[rows], found.scores[rows] = part.items, part.scores
        return found

    def _search_group(
        self,
        queries: Tensor,
        k: int,
        filter: Filter,
        among: Among | None,
        *,
        fetch: int,
        exclude: Tensor | None,
    ) -> Candidates:
        """The searcher's ``fetch`` best without the excluded rows (B, X), or the exact answer where that is less work."""
        num_open = len(self.main.items) if among is None else among.count
        if not num_open:
            return self.main.search(queries, k, filter)
        share, fetch = num_open / len(self.main.items), min(fetch, num_open)
        # By the request alone, never by the batch it came in: the same request gets the same answer.
        is_filtered = among is not None or exclude is not None
        spare = max(0, fetch - k)
        if is_filtered and num_open <= _SCATTERED * self.searcher.effort(fetch, spare=spare, share=share):
            return self.main.search(queries, k, filter)
        scores, rows = self.searcher.nearest(queries, fetch, spare=spare, among=among)
        if exclude is not None:
            scores, rows = _without(exclude, scores, rows)
        scores, rows = scores[:, :k], rows[:, :k]
        if scores.shape[1] == k and scores.numpy()[:, -1].min() > -np.inf:
            return Candidates(self.main.items_at(rows), scores)
        found = candidates(self.main.items_at(rows), scores, k)  # row -1 is an empty slot, whatever item it reads
        short = scores[:, min(k, num_open) - 1] == -torch.inf
        if bool(short.any()):
            again = short.nonzero().squeeze(1)
            exact = self.main.search(queries[again], k, filter.take(again))
            found.items[again], found.scores[again] = exact.items, exact.scores
        return found


def _without(exclude: Tensor, scores: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The scores and rows (B, w), best first, with those that are in the lists (B, X) put last, their score -inf."""
    met = contains(exclude, rows)
    if not bool(met.any()):
        return scores, rows
    scores, order = torch.topk(scores.masked_fill(met, -torch.inf), scores.shape[1], dim=1)
    return scores, rows.gather(1, order)


def nothing(queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The answer (B, k) of a searcher that found nothing: the overlay completes it by exact search."""
    return torch.full((len(queries), k), -torch.inf), torch.full((len(queries), k), -1)


def overlay(main: Table, searcher: Searcher) -> Overlay:
    """A searcher freshly built over the vectors of ``main``, without edits."""
    return Overlay(main, searcher, Table.of(main.items.new_empty(0), main.vectors.new_empty((0, main.width))))


def restored(arrays: dict[str, Tensor], searcher: Searcher, *, items: Tensor, vectors: Tensor) -> Overlay:
    """The overlay with these ``arrays()``, over a restored searcher of ``vectors`` (n, D); ``items`` (n,): 0 is removed."""
    is_here = items != 0
    is_whole = bool(is_here.all())
    checked_items(items if is_whole else items[is_here])
    main = Table.of(items, vectors)
    added_vectors = checked_vectors(
        stored(arrays, "delta_vectors", torch.float32, ndim=2), what="Added vectors", width=main.width
    )
    added = checked_items(stored(arrays, "delta_items", torch.int64, ndim=1), count=len(added_vectors))
    if bool(main.holds(added).any()):
        raise SearchError("A saved index holds an item twice, as built and as added. Build the index again.")
    return Overlay(main, searcher, Table.of(added, added_vectors), _open(main))


def _open(main: Table) -> Among | None:
    """The rows of ``main`` that are not removed; None: all."""
    return None if main.removed is None else Among(~main.removed)
