"""Outside ids (integers or strings) to dense indices and back; index 0 is unknown and padding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from shortlist.errors import DataError
from shortlist.keys import IntegerKeys, Keys, TextKeys, keys_of_arrays
from shortlist.texts import Texts

Id = int | str

_FEW = 100  # ids up to which looking them up one by one is about as fast as all at once
_JOINED = 8  # times: keys that were added are joined with those before them where these are not so many more
_MIXED = "Ids are all integers or all strings; found {found}. Cast the column to one type."
_DIGITS = 20  # that an integer of 64 bits has at most, its sign included


class Vocabulary:
    """An ordered set of ids. The id at position ``i`` has index ``i + 1``; whatever is not in it has index 0.

    >>> vocabulary = Vocabulary(["b", "a"])
    >>> vocabulary.encode(["a", "never seen", "b"]).tolist()
    [2, 0, 1]
    >>> vocabulary.decode([1, 2]).tolist()
    ['b', 'a']
    """

    def __init__(self, ids: Iterable[Any]) -> None:
        keys = _keys(ids)
        if keys.repeats:
            raise DataError(f"A vocabulary holds each id once; {keys.repeats} ids come again.")
        self._parts: tuple[Keys, ...] = (keys,)  # the ids as they came, by and by: what was there is not copied

    @classmethod
    def of_distinct(cls, ids: pl.Series) -> Vocabulary:
        """The vocabulary of a column of different ids, none of them missing, without a look at each."""
        return cls._of(TextKeys(Texts.of_series(ids))) if ids.dtype == pl.String else cls(ids.to_numpy())

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Vocabulary:
        """The vocabulary that :meth:`arrays` described, which it goes on using. Nonsense is a ValueError or a KeyError."""
        return cls._of(keys_of_arrays(arrays))

    @classmethod
    def _of(cls, *parts: Keys) -> Vocabulary:
        vocabulary = cls.__new__(cls)
        vocabulary._parts = parts
        return vocabulary

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All that it consists of, by name."""
        first, *others = self._parts
        for part in others:
            first = first.plus(part)
        return first.arrays()

    def __len__(self) -> int:
        """How many ids it knows (the unknown index is not one)."""
        return sum(len(part) for part in self._parts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary) or len(self) != len(other):
            return False
        if self is other or self._parts == other._parts or not len(self):
            return True
        if self.is_integer != other.is_integer:
            return False
        if len(self._parts) == len(other._parts) == 1:
            return self._parts[0].same_as(other._parts[0])
        return np.array_equal(self.ids, other.ids)

    def __hash__(self) -> int:
        return hash((len(self), *self._parts[0].at(np.arange(min(8, len(self._parts[0])))).tolist()))

    def __contains__(self, outside_id: object) -> bool:
        return self._find(outside_id) > 0

    @property
    def is_integer(self) -> bool:
        """Whether the ids are integers (else they are strings)."""
        return isinstance(self._parts[0], IntegerKeys)

    @cached_property
    def ids(self) -> npt.NDArray[Any]:
        """All ids; of strings each becomes an object here, so ask for some with :meth:`decode` where some will do."""
        known = [
            part.values if isinstance(part, IntegerKeys) else part.at(np.arange(len(part))) for part in self._parts
        ]
        return known[0] if len(known) == 1 else np.concatenate(known)

    def encode(self, ids: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        """Indices of ``ids``, 0 where an id is not known."""
        if len(ids) > _FEW and (keys := self._alike(ids)) is not None:
            return self._find_all(keys).astype(np.int32)
        values = ids.tolist() if isinstance(ids, np.ndarray) else ids
        return np.fromiter(map(self._find, values), dtype=np.int32, count=len(values))

    def decode(self, indices: Sequence[int] | npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Ids of ``indices``; index 0 has none and is an error."""
        rows = np.asarray(indices, dtype=np.int64) - 1
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise DataError(f"Indices run from 1 to {len(self)}; found {rows.min() + 1} to {rows.max() + 1}.")
        if len(self._parts) == 1:
            return self._parts[0].at(rows.ravel()).reshape(rows.shape)
        found = np.empty(rows.shape, dtype=np.int64 if self.is_integer else object)
        first = 0
        for part in self._parts:
            here = (rows >= first) & (rows < first + len(part))
            found[here] = part.at(rows[here] - first)
            first += len(part)
        return found

    def extend(self, ids: Iterable[Any]) -> Vocabulary:
        """A larger vocabulary: the known ids keep their indices, new ones follow in the order given.

        It shares what it has with this one, so that a few ids more cost what a few ids cost.
        """
        added = _keys(dict.fromkeys(ids.tolist() if isinstance(ids, np.ndarray) else ids))
        if not len(self):
            return Vocabulary._of(added) if len(added) else self
        if not len(added):
            return self
        if isinstance(added, IntegerKeys) != self.is_integer:
            raise DataError(_MIXED.format(found="int, str"))
        rows = np.arange(len(added))
        known = self._find_all(added.at(rows))
        if known.all():
            return self
        new = added if not known.any() else _keys(added.at(rows[known == 0]))
        parts = list(self._parts)
        last: Keys = new
        while parts and len(last) * _JOINED >= len(parts[-1]):
            last = parts.pop().plus(last)
        return Vocabulary._of(*parts, last)

    def _find(self, outside_id: object) -> int:
        """The index of one id."""
        key = outside_id if type(outside_id) is self._kind else self._normal(outside_id)
        if key is None:
            return 0
        first = 0
        for part in self._parts:
            if found := part.find(key):
                return first + found
            first += len(part)
        return 0

    def _find_all(self, keys: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """The indices (n,) of many ids of the right kind."""
        found = self._parts[0].find_all(keys)
        first = len(self._parts[0])
        for part in self._parts[1:]:
            there = part.find_all(keys)
            found = np.where(there > 0, there + first, found)
            first += len(part)
        return found

    @cached_property
    def _kind(self) -> type:
        return int if self.is_integer else str

    def _alike(self, ids: Sequence[Any] | npt.NDArray[Any]) -> Sequence[Any] | npt.NDArray[Any] | None:
        """``ids`` where all are of the kind of the known ones, None where each must be looked at."""
        if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu" and self.is_integer:
            return ids if ids.dtype != np.uint64 else None
        values = ids.tolist() if isinstance(ids, np.ndarray) else ids
        if set(map(type, values)) != {self._kind}:
            return None
        if self.is_integer:
            array = np.array(values)
            return array if array.dtype == np.int64 else None  # another type: one is beyond 64 bits
        return values

    def _normal(self, outside_id: object) -> int | str | None:
        """Requests may write an integer id as text, and the reverse; both mean the same id. None: it can be no id here."""
        if not self.is_integer:
            is_id = isinstance(outside_id, int | str | np.integer)
            return str(outside_id) if is_id else None
        if isinstance(outside_id, str):
            is_number = outside_id.removeprefix("-").isdecimal() and len(outside_id) <= _DIGITS
            return int(outside_id) if is_number else None
        if isinstance(outside_id, float | np.floating):
            return int(outside_id) if outside_id.is_integer() else None
        return int(outside_id) if isinstance(outside_id, int | np.integer) else None


def _keys(ids: Iterable[Any]) -> IntegerKeys | TextKeys:
    if isinstance(ids, np.ndarray) and ids.dtype in (np.int64, np.int32):
        return IntegerKeys(ids.astype(np.int64))
    values = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    kinds = set(map(type, values))
    if kinds <= {int, np.int64, np.int32}:
        return IntegerKeys(np.array(values, dtype=np.int64))
    if kinds <= {str, np.str_}:
        return TextKeys(Texts.of(values))
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise DataError(_MIXED.format(found=names))
