"""Distinct ids, all integers or all texts, to their places and back, by arrays alone.

What is mapped from a file needs no object for each id then. The places are found by a table of slots with open addressing
and linear probing (Knuth, The Art of Computer Programming 3, section 6.4, algorithm L), at most a third full. Integers are
their own hashes, texts have their CRC-32; either is spread by a multiplication (section 6.4, too). Every find compares the
key itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol
from zlib import crc32

import numpy as np
import numpy.typing as npt

from shortlist.texts import Bools, Ints, Texts, as_bytes, expected

Slots = npt.NDArray[np.int32]
Hashes = npt.NDArray[np.uint64]
Same = Callable[[npt.NDArray[Any], npt.NDArray[Any]], Bools]  # of rows (n,) and rows (n,): whose keys are equal

_SPREAD = 0x9E3779B97F4A7C15  # 2^64 divided by the golden ratio
_WORD = 2**64 - 1


class Keys(Protocol):
    """N distinct keys. Places begin with 1; 0 is not there."""

    def __len__(self) -> int: ...

    def find(self, key: Any, /) -> int:
        """The place of one key."""
        ...

    def find_all(self, keys: Sequence[Any] | Ints, /) -> Ints:
        """The places (n,) of n keys."""
        ...

    def at(self, rows: Ints, /) -> npt.NDArray[Any]:
        """The keys of rows (n,), which are places less 1."""
        ...

    def plus(self, other: Any, /) -> Keys:
        """These keys and then those of another of the kind, which has none of these."""
        ...

    def same_as(self, other: Any, /) -> bool:
        """Whether the other of the kind has the same keys in the same order."""
        ...

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All that it consists of, by name."""
        ...


class IntegerKeys:
    """Whole numbers of 64 bits."""

    def __init__(self, values: Ints, slots: Slots | None = None) -> None:
        """Take ``values`` (N,) with their ``slots``, or without any make them; ``self.repeats`` says how many come again."""
        self.values, self.repeats = values, 0
        if slots is None:
            slots, self.repeats = _filled(values.view(np.uint64), lambda one, other: values[one] == values[other])
        self.slots = _checked(slots, len(values))
        self._values, self._slots = values.data, self.slots.data
        self._shift, self._last = _shift(self.slots), len(self.slots) - 1

    def __len__(self) -> int:
        return len(self.values)

    def find(self, key: int, /) -> int:
        """The place of one key."""
        values, slots, last = self._values, self._slots, self._last
        at = (key * _SPREAD & _WORD) >> self._shift
        while place := slots[at]:
            if values[place - 1] == key:
                return place
            at = (at + 1) & last
        return 0

    def find_all(self, keys: Sequence[int] | Ints, /) -> Ints:
        """The places (n,) of n keys."""
        asked = np.asarray(keys, dtype=np.int64)
        return _found(self.slots, asked.view(np.uint64), lambda one, row: asked[one] == self.values[row])

    def at(self, rows: Ints, /) -> Ints:
        """The keys of rows (n,)."""
        return self.values[rows]

    def plus(self, other: IntegerKeys, /) -> IntegerKeys:
        """These keys and then the others."""
        return IntegerKeys(np.concatenate((self.values, other.values)))

    def same_as(self, other: IntegerKeys, /) -> bool:
        """Whether the other has the same keys in the same order."""
        return np.array_equal(self.values, other.values)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All that it consists of, by name."""
        return {"ids": self.values, "slots": self.slots}


class TextKeys:
    """Texts."""

    def __init__(self, texts: Texts, slots: Slots | None = None) -> None:
        """Take ``texts`` with their ``slots``, or without any make them when they are needed."""
        self.texts = texts
        if slots is not None:
            self._made = _checked(slots, len(texts)), 0

    @cached_property
    def _made(self) -> tuple[Slots, int]:
        data = self.texts.parts()
        hashes = _hashes(data)
        slots, repeats = _filled(hashes, lambda one, other: _alike(data, hashes, one, other))
        return _checked(slots, len(self.texts)), repeats

    @property
    def slots(self) -> Slots:
        """The table by which they are found."""
        return self._made[0]

    @property
    def repeats(self) -> int:
        """How many come again."""
        return self._made[1]

    @cached_property
    def _search(self) -> tuple[memoryview, int, int]:
        """The slots, how far a hash is shifted, and the last slot: what every find reads."""
        return self.slots.data, _shift(self.slots), len(self.slots) - 1

    def __len__(self) -> int:
        return len(self.texts)

    def find(self, key: str, /) -> int:
        """The place of one key."""
        wanted, bytes_of = as_bytes(key), self.texts.bytes_of
        slots, shift, last = self._search
        at = (crc32(wanted) * _SPREAD & _WORD) >> shift
        while place := slots[at]:
            if bytes_of(place - 1) == wanted:
                return place
            at = (at + 1) & last
        return 0

    def find_all(self, keys: Sequence[str] | Ints, /) -> Ints:
        """The places (n,) of n keys."""
        data = list(map(as_bytes, keys))
        asked, hashes = Texts.of_bytes(data), _hashes(data)
        return _found(self.slots, hashes, lambda one, row: asked.same(one, self.texts, row))

    def at(self, rows: Ints, /) -> npt.NDArray[np.object_]:
        """The keys of rows (n,)."""
        return np.array(self.texts.some(rows), dtype=object)

    def plus(self, other: TextKeys, /) -> TextKeys:
        """These keys and then the others."""
        return TextKeys(self.texts.plus(other.texts))

    def same_as(self, other: TextKeys, /) -> bool:
        """Whether the other has the same keys in the same order."""
        return self.texts == other.texts

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All that it consists of, by name."""
        return {**self.texts.arrays(), "slots": self.slots}


def keys_of_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> IntegerKeys | TextKeys:
    """The keys that ``arrays()`` described. What cannot be theirs is a ValueError or a KeyError."""
    slots = expected(arrays, "slots", np.int32)
    if "ids" in arrays:
        return IntegerKeys(expected(arrays, "ids", np.int64), slots)
    return TextKeys(Texts.of_arrays(arrays), slots)


def _hashes(data: list[bytes]) -> Hashes:
    return np.fromiter(map(crc32, data), dtype=np.uint64, count=len(data))


def _shift(slots: Slots) -> int:
    """How far a spread hash is shifted to be a slot's number."""
    return 65 - len(slots).bit_length()


def _first(hashes: Hashes, slots: Slots) -> Ints:
    """The slots (n,) where the search for each of ``hashes`` (n,) begins."""
    with np.errstate(over="ignore"):
        return ((hashes * np.uint64(_SPREAD)) >> np.uint64(_shift(slots))).astype(np.int64)


def _filled(hashes: Hashes, same: Same) -> tuple[Slots, int]:
    """The slots of keys with ``hashes`` (N,), a power of 2 of them, and how many keys come again."""
    slots = np.zeros(1 << max(3, (3 * len(hashes)).bit_length()), dtype=np.int32)
    rows, at, repeats = np.arange(len(hashes)), _first(hashes, slots), 0
    while len(rows):  # all that still look for a slot take the next step together
        is_free = slots[at] == 0
        slots[at[is_free]] = rows[is_free] + 1  # of several that want one slot the last gets it
        there = slots[at] - 1
        lost = there != rows
        rows, at, there = rows[lost], at[lost], there[lost]
        other = ~same(rows, there)
        repeats += len(rows) - int(other.sum())
        rows, at = rows[other], (at[other] + 1) & (len(slots) - 1)
    return slots, repeats


def _found(slots: Slots, hashes: Hashes, same: Same) -> Ints:
    """The places (n,) of keys with ``hashes`` (n,), 0 where there is none."""
    places, asked, at = np.zeros(len(hashes), dtype=np.int64), np.arange(len(hashes)), _first(hashes, slots)
    while len(asked):
        there = slots[at]
        taken = there > 0
        asked, at, there = asked[taken], at[taken], there[taken]
        equal = same(asked, there - 1)
        places[asked[equal]] = there[equal]
        asked, at = asked[~equal], (at[~equal] + 1) & (len(slots) - 1)
    return places


def _alike(data: list[bytes], hashes: Hashes, one: npt.NDArray[Any], other: npt.NDArray[Any]) -> Bools:
    """Whether texts are equal, which few are whose hashes are not."""
    equal: Bools = hashes[one] == hashes[other]
    for place in np.flatnonzero(equal).tolist():
        equal[place] = data[one[place]] == data[other[place]]
    return equal


def _checked(slots: Slots, count: int) -> Slots:
    """Slots that a search comes to an end in, and that lead to no key outside; others are a ValueError."""
    size = len(slots)
    is_sound = size & (size - 1) == 0 and size > count and np.count_nonzero(slots) <= count
    if not is_sound or int(slots.min()) < 0 or int(slots.max()) > count:
        raise ValueError(f"{size} slots do not fit {count} ids")
    return slots
