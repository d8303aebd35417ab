"""Outside ids (integers or strings) to dense indices and back; index 0 is unknown and padding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from shortlist.errors import DataError

Id = int | str


class Vocabulary:
    """An ordered set of ids. The id at position ``i`` has index ``i + 1``; whatever is not in it has index 0.

    >>> vocabulary = Vocabulary(["b", "a"])
    >>> vocabulary.encode(["a", "never seen", "b"]).tolist()
    [2, 0, 1]
    >>> vocabulary.decode([1, 2]).tolist()
    ['b', 'a']
    """

    def __init__(self, ids: Iterable[Any]) -> None:
        self.ids = _as_ids(ids)
        if len(self._index) != len(self.ids):
            raise DataError(f"A vocabulary holds each id once; {len(self.ids) - len(self._index)} ids come again.")

    def __len__(self) -> int:
        """How many ids it knows (the unknown index is not one)."""
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and np.array_equal(self.ids, other.ids)

    def __hash__(self) -> int:
        return hash((len(self), tuple(self.ids[:8].tolist())))

    def __contains__(self, outside_id: object) -> bool:
        return self._normal(outside_id) in self._index

    @property
    def is_integer(self) -> bool:
        """Whether the ids are integers (else they are strings)."""
        return self.ids.dtype != object

    @cached_property
    def _index(self) -> dict[Any, int]:
        return {outside_id: position for position, outside_id in enumerate(self.ids.tolist(), start=1)}

    def _normal(self, outside_id: object) -> object:
        """Requests may write an integer id as text, and the reverse; both mean the same id."""
        if self.is_integer and isinstance(outside_id, str):
            return int(outside_id) if outside_id.removeprefix("-").isdecimal() else None
        if not self.is_integer and isinstance(outside_id, int | np.integer):
            return str(outside_id)
        return outside_id

    def encode(self, ids: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        """Indices of ``ids``, 0 where an id is not known."""
        values = ids.tolist() if isinstance(ids, np.ndarray) else ids
        get, normal = self._index.get, self._normal
        found = (get(value) or get(normal(value), 0) for value in values)
        return np.fromiter(found, dtype=np.int32, count=len(values))

    def decode(self, indices: Sequence[int] | npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Ids of ``indices``; index 0 has none and is an error."""
        positions = np.asarray(indices, dtype=np.int64) - 1
        if positions.size and (positions.min() < 0 or positions.max() >= len(self)):
            raise DataError(f"Indices run from 1 to {len(self)}; found {positions.min() + 1} to {positions.max() + 1}.")
        return self.ids[positions]

    def extend(self, ids: Iterable[Any]) -> Vocabulary:
        """A larger vocabulary: the known ids keep their indices, new ones follow in the order given."""
        known = self._index
        added = [new for new in dict.fromkeys(_as_ids(ids).tolist()) if new not in known]
        return Vocabulary(self.ids.tolist() + added) if added else self


def _as_ids(ids: Iterable[Any]) -> npt.NDArray[Any]:
    values = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    if not values:
        return np.empty(0, dtype=np.int64)
    kinds = {type(value) for value in values}
    if kinds <= {int, np.int64, np.int32}:
        return np.asarray(values, dtype=np.int64)
    if kinds <= {str, np.str_}:
        return np.asarray(values, dtype=object)
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise DataError(f"Ids are all integers or all strings; found {names}. Cast the column to one type.")
