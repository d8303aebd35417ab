"""Item vectors into exact answers: every score is computed, the best are kept.

A :class:`Table` never changes; an edit makes a new one, so that a search that runs meanwhile sees one state of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from shortlist.contracts import Candidates, Filter

_BLOCK_BYTES = (
    64 * 2**20
)  # of scores, or of gathered vectors, at a time; less is not faster, and waits more for threads
_GROUP = 8  # columns whose maximum is taken before top-k
_SPREAD = 8  # item indices for each row, up to which a table of them all is kept
_FEW_ROWS = 1024  # and so many more
_LISTED = 16  # gathering a vector costs about this many times scoring it in a product with all of them
_FEW = 16  # requests for which plain top-k is as fast as top-k by groups


@dataclass(frozen=True, slots=True)
class Places:
    """Where the row of each item is. Make one with :meth:`of`."""

    table: Tensor | None  # (last item + 2,) int64 row of each item index
    ordered: Tensor  # (n',) without such a table the items, ascending
    rows: Tensor  # (n',) and their rows
    missing: int  # what stands for an item that has no row
    first: int | None  # the item of row 0 where the items are consecutive
    last: int  # the largest item index

    @classmethod
    def of(cls, items: Tensor) -> Places:
        """The places of ``items`` (n,), a row each; 0 has none. A table takes no time to read, and long to write."""
        count = len(items)
        first, last = (int(items[0]), int(items.amax())) if count else (0, 0)
        if last >= _SPREAD * count + _FEW_ROWS:
            ordered, rows = items.sort()
            none = int((ordered == 0).sum())
            return cls(None, ordered[none:], rows[none:], count, None, last)
        is_run = first > 0 and last - first == count - 1 and bool((items[1:] > items[:-1]).all())
        table = torch.full((last + 2,), count, dtype=torch.int64)
        if is_run:
            torch.arange(count, out=table[first : last + 1])
        else:
            table[items] = torch.arange(count)
            table[0] = count
        return cls(table, items[:0], items[:0], count, first if is_run else None, last)

    def find(self, items: Tensor) -> Tensor:
        """The rows of ``items`` (any shape); ``missing`` where there is none."""
        if self.table is not None:
            return self.table[items.clamp(max=len(self.table) - 1)]
        near = torch.searchsorted(self.ordered, items.contiguous()).clamp_(max=len(self.ordered) - 1)
        return torch.where(self.ordered[near] == items, self.rows[near], self.missing)


@dataclass(frozen=True, slots=True)
class Table:
    """Vectors by row, with the map from item to row. Make one with :meth:`of`.

    What ``find`` gives for an item that may not be answered is ``len(items)``, one past the last row.
    """

    items: Tensor  # (n,) int64 item index of each row; 0 is none
    vectors: Tensor  # (n, D) float32
    places: Places
    columns: Tensor  # (W,) items, padded with 0 to whole groups, and one column more: where unknown items point
    removed: Tensor | None  # (n,) bool rows that may not be answered; None: all may
    num_removed: int
    first: int | None  # the item of row 0 where the items are consecutive: a mask is then read whole
    last_item: int  # the largest item index that can be answered

    @classmethod
    def of(cls, items: Tensor, vectors: Tensor) -> Table:
        """A table of checked ``items`` (n,) and ``vectors`` (n, D); an item 0 is one that was removed."""
        columns = items.new_zeros((len(items) // _GROUP + 1) * _GROUP)
        columns[: len(items)] = items
        num_removed = len(items) - int(torch.count_nonzero(items))
        removed, places = items == 0 if num_removed else None, Places.of(items)
        return cls(items, vectors, places, columns, removed, num_removed, places.first, places.last)

    def __len__(self) -> int:
        return len(self.items) - self.num_removed

    @property
    def width(self) -> int:
        """D."""
        return self.vectors.shape[1]

    def find(self, items: Tensor) -> Tensor:
        """The rows of ``items`` (any shape); ``len(self.items)`` where there is none."""
        rows = self.places.find(items)
        if self.removed is None:
            return rows
        return rows.masked_fill(self.removed[rows.clamp(max=len(self.items) - 1)], len(self.items))

    def holds(self, items: Tensor) -> Tensor:
        """Which of ``items`` (any shape) can be answered."""
        return self.find(items) < len(self.items)

    def items_at(self, rows: Tensor) -> Tensor:
        """The item of each of ``rows`` (any shape), which are none that was removed; row -1 has any."""
        return self.items[rows] if self.first is None else rows + self.first

    def vectors_of(self, items: Tensor) -> Tensor:
        """The vectors (N, D) of ``items`` (N,) that are here."""
        return self.vectors[self.find(items)]

    def alive(self) -> tuple[Tensor, Tensor]:
        """Items (n',) and vectors (n', D) without the removed rows."""
        if self.removed is None:
            return self.items, self.vectors
        return self.items[~self.removed], self.vectors[~self.removed]

    def parts(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """The items (n,), 0 where a row was removed, and all vectors (n, D)."""
        return ((self.marked(), self.vectors),)

    def marked(self) -> Tensor:
        """The items (n,), 0 where a row was removed."""
        return self.items if self.removed is None else self.items.masked_fill(self.removed, 0)

    def arrays(self) -> dict[str, Tensor]:
        """Items and vectors, as :meth:`alive`."""
        items, vectors = self.alive()
        return {"items": items, "vectors": vectors}

    def plus(self, items: Tensor, vectors: Tensor) -> Table:
        """A new table with ``items`` in it; those that were here get the new vectors. Removed rows are left out."""
        old_items, old_vectors = self.minus(items).alive()
        return Table.of(torch.cat((old_items, items)), torch.cat((old_vectors, vectors)))

    def minus(self, items: Tensor) -> Table:
        """The same vectors with the rows of ``items`` marked as removed; what is not here is passed over."""
        rows = self.find(items)
        rows = rows[rows < len(self.items)]
        if not len(rows):
            return self
        removed = torch.zeros(len(self.items), dtype=torch.bool) if self.removed is None else self.removed.clone()
        removed[rows] = True
        left = replace(self, removed=removed, num_removed=self.num_removed + len(rows))
        is_last = bool((self.items[rows] == self.last_item).any())
        return replace(left, last_item=int(left.marked().amax())) if is_last else left

    def passing(self, allowed: Tensor) -> Tensor:
        """The rows (n,) bool that a mask of items lets pass; what it says of removed ones means nothing."""
        if self.first is None or len(allowed) < self.first + len(self.items):  # shorter where the last was removed
            return allowed[self.marked()]
        return allowed[self.first : self.first + len(self.items)]

    def search(self, queries: Tensor, k: int, filter: Filter, /) -> Candidates:
        """The ``k`` items of largest inner product with each of ``queries`` (B, D), among those the filter lets pass."""
        allowed = filter.allowed
        if allowed is not None and allowed.dtype == torch.bool:
            passing = self.passing(allowed)
            passing = passing if self.removed is None else passing & ~self.removed
            kept = passing.nonzero().squeeze(1)  # (n',)
            if len(kept) * 2 < len(self.items):
                return Table.of(self.items[kept], self.vectors.index_select(0, kept))._scan(
                    queries, k, Filter(exclude=filter.exclude)
                )
        elif allowed is not None and allowed.shape[1] * _LISTED < len(self.items):
            return self._score_lists(queries, k, allowed, filter.exclude)
        return self._scan(queries, k, filter)

    def _scan(self, queries: Tensor, k: int, filter: Filter) -> Candidates:
        """Score every row."""
        width = len(self.columns)
        closed = None  # (W,)
        is_masked = filter.allowed is not None and filter.allowed.dtype == torch.bool
        if is_masked or self.removed is not None:
            closed = self.columns == 0
            if self.removed is not None:
                closed[: len(self.items)] |= self.removed
            if is_masked and filter.allowed is not None:
                closed[: len(self.items)] |= ~self.passing(filter.allowed)
        block = max(_FEW, _BLOCK_BYTES // (4 * width))
        buffer = queries.new_empty((min(block, len(queries)), width))
        buffer[:, len(self.items) :] = -torch.inf
        parts = []
        for start in range(0, len(queries), block):
            some = slice(start, start + block)
            scores = buffer[: len(queries[some])]  # (b, W)
            torch.mm(queries[some], self.vectors.T, out=scores[:, : len(self.items)])
            if closed is not None:
                scores.masked_fill_(closed, -torch.inf)
            if filter.allowed is not None and filter.allowed.dtype != torch.bool:
                forbidden = torch.ones_like(scores, dtype=torch.bool)
                scores.masked_fill_(forbidden.scatter_(1, self.find(filter.allowed[some]), value=False), -torch.inf)
            if filter.exclude is not None:
                scores.scatter_(1, self.find(filter.exclude[some]), -torch.inf)
            best, columns = _top(scores, min(k, width))
            parts.append(candidates(self.columns[columns], best, k))
        return joined(parts, k)

    def _score_lists(self, queries: Tensor, k: int, allowed: Tensor, exclude: Tensor | None) -> Candidates:
        """Score only the rows of each request's own list (B, A)."""
        num_rows = len(self.items)
        block = max(1, _BLOCK_BYTES // (4 * max(1, allowed.shape[1] * self.width)))
        parts = []
        for start in range(0, len(queries), block):
            some = slice(start, start + block)
            rows = self.find(allowed[some]).sort(dim=1).values  # (b, A)
            closed = rows == num_rows
            closed[:, 1:] |= rows[:, 1:] == rows[:, :-1]  # an item that is listed twice is answered once
            if exclude is not None:
                closed |= contains(self.find(exclude[some]), rows)
            # Selecting rows and this order of the product are each three times as fast as their plainer spellings.
            at = rows.clamp(max=num_rows - 1).flatten()
            vectors = self.vectors.index_select(0, at).view(*rows.shape, self.width)  # (b, A, D)
            scores = (
                torch.bmm(queries[some, None, :], vectors.transpose(1, 2)).squeeze(1).masked_fill_(closed, -torch.inf)
            )
            best, columns = torch.topk(scores, min(k, scores.shape[1]), dim=1)
            parts.append(candidates(self.columns[rows.gather(1, columns)], best, k))
        return joined(parts, k)


def candidates(items: Tensor, scores: Tensor, k: int) -> Candidates:
    """Candidates of width ``k`` from best-first ``items`` and ``scores`` (B, w); a score of -inf is an empty slot."""
    items, scores = items[:, :k], scores[:, :k]
    missing = k - items.shape[1]
    if missing:
        items = torch.nn.functional.pad(items, (0, missing))
        scores = torch.nn.functional.pad(scores, (0, missing), value=-torch.inf)
    if scores.numel() and float(scores[:, -1].amin()) == -torch.inf:
        items = items.masked_fill(scores == -torch.inf, 0)
    return Candidates(items, scores)


def joined(parts: list[Candidates], k: int) -> Candidates:
    """The candidates of consecutive blocks of requests as one; no blocks are no requests."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Candidates(torch.empty((0, k), dtype=torch.int64), torch.empty((0, k)))
    return Candidates(torch.cat([part.items for part in parts]), torch.cat([part.scores for part in parts]))


def merged(first: Candidates, second: Candidates, k: int) -> Candidates:
    """The best ``k`` of two answers that have no item in common."""
    items, scores = torch.cat((first.items, second.items), 1), torch.cat((first.scores, second.scores), 1)
    best, columns = torch.topk(scores, min(k, scores.shape[1]), dim=1)
    return candidates(items.gather(1, columns), best, k)


def contains(lists: Tensor, values: Tensor) -> Tensor:
    """Whether each of ``values`` (B, w) is in its row's list (B, X).

    >>> contains(torch.tensor([[5, 3]]), torch.tensor([[3, 4, 5]])).tolist()
    [[True, False, True]]
    """
    if not lists.shape[1]:
        return torch.zeros_like(values, dtype=torch.bool)
    ordered = lists.sort(dim=1).values
    places = torch.searchsorted(ordered, values.contiguous())
    return ordered.gather(1, places.clamp_(max=ordered.shape[1] - 1)) == values


def _top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` largest of each row (B, W), best first, with their columns; W is a multiple of the group size.

    The best k lie in the k groups of largest maximum. A maximum over groups runs at the speed of memory, and leaves
    top-k, which is slow, with an eighth of the row and then with 8k values.
    """
    width = scores.shape[1]
    groups = width // _GROUP
    if len(scores) < _FEW or 2 * k > groups:
        return torch.topk(scores, k, dim=1)
    grouped = scores.view(len(scores), _GROUP, groups)  # column c is in group c % groups
    inside = torch.topk(grouped.amax(1), k, dim=1, sorted=False).indices  # (B, k)
    columns = (inside[:, None, :] + torch.arange(0, width, groups)[:, None]).flatten(1)  # (B, 8k)
    best, places = torch.topk(scores.gather(1, columns), k, dim=1)
    return best, columns.gather(1, places)
