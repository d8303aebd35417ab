"""Titles of items and later ones into titles of which the newest counts: those that were there are never copied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import overload

import numpy as np

from shortlist.texts import Texts


class Titles(Sequence[str]):
    """N texts, of which some came later. It never changes.

    >>> titles = Titles(Texts.of(["tea", "cup"]))
    >>> list(titles.plus([(1, "mug"), (3, "pot")], count=4)), list(titles)
    (['tea', 'mug', '', 'pot'], ['tea', 'cup'])
    """

    __slots__ = ("_count", "_first", "_later")

    def __init__(self, first: Texts, later: Mapping[int, str] | None = None, *, count: int | None = None) -> None:
        """The ``first`` ones, those that came ``later`` by their places, and empty ones up to ``count``."""
        self._first, self._later = first, {} if later is None else later
        self._count = len(first) if count is None else count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...
    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        if isinstance(place, slice):
            return tuple(self[each] for each in range(len(self))[place])
        at = range(len(self))[place]
        later = self._later.get(at)
        if later is not None:
            return later
        return self._first[at] if at < len(self._first) else ""

    def __iter__(self) -> Iterator[str]:
        return iter(self.whole())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Titles):
            return NotImplemented
        return self is other or self.whole() == other.whole()

    def __hash__(self) -> int:
        return hash((len(self), *self[:8]))

    def whole(self) -> Texts:
        """All of them in one piece."""
        if not self._later and self._count == len(self._first):
            return self._first
        texts = self._first.plus(Texts.of([""] * (self._count - len(self._first))))
        places = np.fromiter(self._later, dtype=np.int64, count=len(self._later))
        return texts.replaced(places, Texts.of(self._later.values()))

    def plus(self, later: Iterable[tuple[int, str]], *, count: int) -> Titles:
        """The same with later texts at some places, and ``count`` in all."""
        return Titles(self._first, {**self._later, **dict(later)}, count=count)
