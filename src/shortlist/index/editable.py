"""An index that can be edited while it is searched: one reference to a state that never changes, swapped whole.

It does not know how a state searches.
"""

from __future__ import annotations

import threading
import warnings
import weakref
from contextlib import suppress
from typing import Protocol

import torch
from torch import Tensor

from shortlist.contracts import Candidates, Filter, SearchSpeed
from shortlist.errors import SearchError, ShortlistWarning
from shortlist.index.checks import checked_count, checked_filter, checked_items, checked_vectors
from shortlist.index.delta import Overlay
from shortlist.index.measure import IndexReport, measure, sample, speeds
from shortlist.index.table import Table, joined

_COMPACT_SHARE = 0.05  # a delta of 5 % costs about what the rest of the search does
_COMPACT_ROWS = 2_000
_SWEPT_K = 100


class IndexSettings(Protocol):
    """The frozen settings of a kind of index; they build it."""

    def build(self, items: Tensor, vectors: Tensor, *, queries: Tensor | None = None) -> EditableIndex:
        """An index of ``items`` (n,) with ``vectors`` (n, D)."""
        ...


class EditableIndex:
    """Maximum inner product search over item vectors, by item index: an ``ItemIndex``.

    Scores are inner products in float32. The order is the same for the same call on the same machine; of equal scores
    at the cut any may be answered. Any number of threads may search during an edit: each search sees the items as
    they were before it or after it. Edits wait for each other. Make one with ``Exact().build`` or ``HNSW().build``.
    """

    def __init__(
        self,
        settings: IndexSettings,
        state: Table | Overlay,
        *,
        tuned: IndexSettings | None = None,
        queries: Tensor | None = None,
        build_s: float | None = None,
    ) -> None:
        """Serve ``state``.

        ``settings`` build it anew; ``tuned``, the same with what the build chose, are what it is called. ``queries``
        (Q, D), if given, are those it is measured with.
        """
        self.settings = settings
        self.tuned = settings if tuned is None else tuned
        self._state = state
        self._queries = queries
        self._build_s = build_s
        self._measured: tuple[Table | Overlay, IndexReport] | None = None
        self._writing = threading.Lock()
        self._touched: list[Tensor] | None = None  # items that were edited while the index is built anew
        self._waiting = _Waiting()
        self._compaction: threading.Thread | None = None
        self._failure: Exception | None = None

    def __len__(self) -> int:
        return len(self._state)

    def __repr__(self) -> str:
        return f"<{self.tuned}: {len(self):,} items of width {self._state.width}>"

    def search(self, queries: Tensor, k: int, *, filter: Filter | None = None) -> Candidates:
        """The ``k`` items (B, k) of largest inner product with each of ``queries`` (B, D), best first.

        Always k columns: where fewer items pass the filter, the rest is item 0 with score -inf. Raises a SearchError
        for NaN or infinite values, a wrong width, and a filter that does not fit.
        """
        state = self._state
        queries = checked_vectors(queries, what="Queries", width=state.width)
        filter = checked_filter(filter, requests=len(queries), last_item=state.last_item)
        k = checked_count(k)
        return state.search(queries, k, filter) if len(queries) else joined([], k)

    def add(self, items: Tensor, vectors: Tensor) -> None:
        """Make new ``items`` (N,) with ``vectors`` (N, D) findable at once. Items that are here already are an error."""
        self._write(items, vectors, is_new=True)

    def replace(self, items: Tensor, vectors: Tensor) -> None:
        """Give ``items`` (N,) that are here the new ``vectors`` (N, D)."""
        self._write(items, vectors, is_new=False)

    def remove(self, items: Tensor) -> None:
        """Answer ``items`` (N,) no more. Items that are not here are an error."""
        items = checked_items(items)
        with self._writing:
            self._expect(items, is_here=True, instead="Leave them out.")
            self._swap(self._state.minus(items), items)

    def compact(self) -> None:
        """Build the index anew from what it holds now, and wait for it. Searches and edits go on in the meantime."""
        with self._waiting.building:
            try:
                self._rebuild()
            except Exception:
                self._failure = None  # the caller hears of it
                raise

    def arrays(self) -> dict[str, Tensor]:
        """All it needs to be restored by its settings' ``restore``."""
        state = self._state
        queries = torch.empty((0, state.width)) if self._queries is None else self._queries
        return {**state.arrays(), "queries": queries}

    def copy(self) -> EditableIndex:
        """Another index of what is here now, edited apart from this one; they share what never changes.

        While this one is built anew, that is done for both, each with its own edits.
        """
        with self._writing:
            other = EditableIndex(
                self.settings, self._state, tuned=self.tuned, queries=self._queries, build_s=self._build_s
            )
            other._waiting, other._compaction, other._failure = self._waiting, self._compaction, self._failure
            if self._touched is not None:
                other._touched = list(self._touched)
                self._waiting.add(other)
        return other

    def holds(self, items: Tensor) -> Tensor:
        """Which of ``items`` (N,) can be answered."""
        return self._state.holds(items)

    def alive(self) -> tuple[Tensor, Tensor]:
        """The items (n,) that can be answered, and their vectors (n, D)."""
        return self._state.alive()

    def parts(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """The same in pieces as they lie, not copied: where there are other vectors than theirs, the item is 0."""
        return self._state.parts()

    def sweep(self) -> tuple[SearchSpeed, ...]:
        """Recall against speed: exact search, this index, and where it can search wider or narrower, those settings.

        Measured on the queries of :attr:`report`, each setting by the fastest of three searches for all of them at once.
        """
        state, settings = self._state, repr(self.tuned)
        searches = {"exact": state.search if isinstance(state, Table) else Table.of(*state.alive()).search}
        if isinstance(state, Overlay):
            searches |= {setting: other.search for setting, other in state.variants()} | {settings: state.search}
        used = settings if isinstance(state, Overlay) else "exact"
        return speeds(searches, queries=self._held_out(), k=_SWEPT_K, used=used)

    @property
    def report(self) -> IndexReport:
        """Recall against exact search, speed and size, measured at the first look and after edits.

        The queries are half of those given at the build (the other half may have tuned it), else item vectors.
        """
        state = self._state
        if self._measured is None or self._measured[0] is not state:
            items, vectors = state.alive()
            report = measure(
                self,
                items=items,
                vectors=vectors,
                queries=self._held_out(),
                settings=repr(self.tuned),
                build_s=self._build_s,
            )
            self._measured = (state, report)
        return self._measured[1]

    def _held_out(self) -> Tensor:
        """Queries (Q, D) that did not tune it: every other one of those given at the build, else item vectors."""
        queries = sample(self._state.alive()[1], seed=0) if self._queries is None else self._queries
        return queries[1::2] if len(queries) > 1 else queries

    def _write(self, items: Tensor, vectors: Tensor, *, is_new: bool) -> None:
        vectors = checked_vectors(vectors, what="Vectors", width=self._state.width)
        items = checked_items(items, count=len(vectors))
        with self._writing:
            self._expect(items, is_here=not is_new, instead="Use replace for them." if is_new else "Use add for them.")
            self._swap(self._state.plus(items, vectors), items)

    def _expect(self, items: Tensor, *, is_here: bool, instead: str) -> None:
        wrong = items[self._state.holds(items) != is_here]
        if len(wrong):
            state = "not in the index" if is_here else "in the index already"
            raise SearchError(
                f"{len(wrong)} of {len(items)} items are {state}, such as item {int(wrong[0])}. {instead}"
            )

    def _swap(self, state: Table | Overlay, edited: Tensor) -> None:
        self._state = state
        if self._touched is not None:
            self._touched.append(edited)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            warnings.warn(
                f"The index could not be built anew after edits ({failure!r}). It is right and slower; compact() tries again.",
                ShortlistWarning,
                stacklevel=4,
            )
        is_idle = self._compaction is None or not self._compaction.is_alive()
        if is_idle and _is_worn(state):
            self._compaction = threading.Thread(target=self._compact_behind, name="shortlist-compaction")
            self._compaction.start()

    def _compact_behind(self) -> None:
        with (
            suppress(Exception),
            self._waiting.building,
        ):  # a failure is said at the next edit: nobody waits for this thread
            while _is_worn(self._state):  # edits that came meanwhile may be enough for another
                self._rebuild()

    def _rebuild(self) -> None:
        """Build from what is here; this index, and copies made meanwhile, then catch up with their edits since."""
        with self._writing:
            before, self._touched = self._state, []
            self._waiting.add(self)
        built: EditableIndex | None = None
        failure: Exception | None = None
        try:
            built = self.settings.build(*before.alive(), queries=self._queries)
        except Exception as error:
            failure = error
            raise
        finally:
            while (index := self._waiting.pop()) is not None:
                index._catch_up(built, failure)

    def _catch_up(self, built: EditableIndex | None, failure: Exception | None) -> None:
        """Go on with what was built of a state before the last edits; with None as before."""
        with self._writing:
            touched = torch.unique(torch.cat([*(self._touched or ()), torch.empty(0, dtype=torch.int64)]))
            self._touched, self._failure = None, failure
            if built is not None:
                held = touched[self._state.holds(touched)]
                state = built._state.minus(touched)
                self._state = state.plus(held, self._state.vectors_of(held)) if len(held) else state
                self.tuned, self._build_s = built.tuned, built._build_s


class _Waiting:
    """What an index shares with its copies: one build at a time, and which of them wait for the one that runs."""

    def __init__(self) -> None:
        self.building = threading.Lock()  # taken before an index's own
        self._lock = threading.Lock()
        self._indexes: weakref.WeakSet[EditableIndex] = weakref.WeakSet()  # nobody waits who is gone

    def add(self, index: EditableIndex) -> None:
        """Let it catch up when the build is done."""
        with self._lock:
            self._indexes.add(index)

    def pop(self) -> EditableIndex | None:
        """One that waits, no longer; None: there is none."""
        with self._lock, suppress(KeyError):
            return self._indexes.pop()
        return None


def _is_worn(state: Table | Overlay) -> bool:
    """Whether so much was edited that building anew pays."""
    return isinstance(state, Overlay) and state.num_edits > max(_COMPACT_ROWS, _COMPACT_SHARE * len(state))
