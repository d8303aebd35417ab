"""Titles of items and later ones into titles of which the newest counts: those that were there are never copied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import overload


class Titles(Sequence[str]):
    """N texts, of which some came later. It never changes.

    >>> titles = Titles(("tea", "cup"))
    >>> list(titles.plus([(1, "mug"), (3, "pot")], count=4)), list(titles)
    (['tea', 'mug', '', 'pot'], ['tea', 'cup'])
    """

    def __init__(self, known: Sequence[str], later: Mapping[int, str] | None = None, count: int | None = None) -> None:
        """The ``known`` ones, those that came ``later`` by their places, and empty ones up to ``count``."""
        self._known, self._later = known, {} if later is None else later
        self._count = len(known) if count is None else count

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
        return self._known[at] if at < len(self._known) else ""

    def __iter__(self) -> Iterator[str]:
        return (self[place] for place in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Titles | tuple):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash((len(self), *self[:8]))

    def plus(self, later: Iterable[tuple[int, str]], *, count: int) -> Titles:
        """The same with later texts at some places, and ``count`` in all."""
        return Titles(self._known, {**self._later, **dict(later)}, count)
