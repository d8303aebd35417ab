"""Many texts as one array of bytes and where each begins: no object for each, so that a file can be mapped as it is."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from operator import methodcaller
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import polars as pl

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_AT_ONCE = 2**20  # bytes that are checked

# UTF-8 and back; halves of characters, which a careless client may send and UTF-8 has not, come through as well.
as_bytes: Callable[[str], bytes] = methodcaller("encode", "utf-8", "surrogatepass")
as_text: Callable[[bytes], str] = methodcaller("decode", "utf-8", "surrogatepass")


class Texts(Sequence[str]):
    """N texts that never change; one becomes a ``str`` when it is asked for.

    >>> texts = Texts.of(["tea", "", "Süd"])
    >>> texts[2], list(texts), texts.take(np.array([2, 0])) == Texts.of(["Süd", "tea"])
    ('Süd', ['tea', '', 'Süd'], True)
    """

    __slots__ = ("_bytes", "_starts", "data", "offsets")

    def __init__(self, data: Bytes, offsets: Ints) -> None:
        """Text ``i`` is ``data[offsets[i]:offsets[i + 1]]``, in UTF-8. Offsets that lead outside are a ValueError."""
        if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(data) or (offsets[1:] < offsets[:-1]).any():
            raise ValueError("the offsets of texts rise from 0 to the number of bytes")
        self.data, self.offsets = data, offsets  # (M,), (N+1,)
        self._bytes, self._starts = data.data, offsets.data  # ten times as fast for one text

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """The texts given, in their order."""
        return cls.of_bytes(list(map(as_bytes, texts)))

    @classmethod
    def of_bytes(cls, parts: Sequence[bytes]) -> Texts:
        """The texts that :func:`as_bytes` made ``parts`` of."""
        sizes = np.fromiter(map(len, parts), dtype=np.int64, count=len(parts))
        return cls(np.frombuffer(bytearray().join(parts), dtype=np.uint8), offsets_of(sizes))

    @classmethod
    def of_series(cls, texts: pl.Series) -> Texts:
        """The texts of a column without missing ones, by no object for each."""
        sizes = texts.str.len_bytes().cast(pl.Int64).to_numpy()
        joined = as_bytes(texts.str.join("").item()) if len(texts) else b""
        return cls(np.frombuffer(bytearray(joined), dtype=np.uint8), offsets_of(sizes))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Texts: ...
    def __getitem__(self, place: int | slice) -> str | Texts:
        if isinstance(place, slice):
            return self.take(np.arange(len(self))[place])
        at = range(len(self))[place]
        return as_text(self.bytes_of(at))

    def __iter__(self) -> Iterator[str]:
        return map(as_text, self.parts())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Texts):
            return NotImplemented
        return np.array_equal(self.offsets, other.offsets) and np.array_equal(self.data, other.data)

    def __hash__(self) -> int:
        return hash((len(self), len(self.data)))

    def __repr__(self) -> str:
        shown = ", ".join(repr(self[place]) for place in range(min(len(self), 3)))
        return f"<{len(self):,} texts: {shown}{', …' if len(self) > 3 else ''}>"

    def bytes_of(self, place: int) -> bytes:
        """The bytes of one text, ``place`` being from 0 on."""
        return bytes(self._bytes[self._starts[place] : self._starts[place + 1]])

    def parts(self) -> list[bytes]:
        """The bytes of each; :meth:`of_bytes` is the inverse."""
        data = self.data.tobytes()
        return [data[start:stop] for start, stop in pairwise(self.offsets.tolist())]

    def some(self, places: npt.NDArray[Any]) -> list[str]:
        """The texts at ``places`` (n,)."""
        data, starts = self._bytes, self.offsets[places].tolist()
        stops = self.offsets[places + 1].tolist()
        return [as_text(bytes(data[start:stop])) for start, stop in zip(starts, stops, strict=True)]

    def take(self, places: Ints) -> Texts:
        """The texts at ``places`` (n,), as texts."""
        sizes = self.offsets[places + 1] - self.offsets[places]
        return Texts(self.data[_spans(self.offsets[places], sizes)], offsets_of(sizes))

    def plus(self, other: Texts) -> Texts:
        """These, and then the others."""
        return Texts(
            np.concatenate((self.data, other.data)),
            np.concatenate((self.offsets, other.offsets[1:] + self.offsets[-1])),
        )

    def replaced(self, places: Ints, others: Texts) -> Texts:
        """The same with other texts at ``places`` (n,), which are distinct."""
        order = np.argsort(places)
        sizes = np.diff(self.offsets)
        pieces, last = [], 0
        for place, other in zip(places[order].tolist(), order.tolist(), strict=True):
            pieces.append(self.data[last : self.offsets[place]])
            pieces.append(others.data[others.offsets[other] : others.offsets[other + 1]])
            last = self.offsets[place + 1]
        sizes[places] = np.diff(others.offsets)
        return Texts(np.concatenate((*pieces, self.data[last:])), offsets_of(sizes))

    def same(self, places: npt.NDArray[Any], others: Texts, other_places: npt.NDArray[Any]) -> Bools:
        """Whether the text at each of ``places`` (n,) is the one of ``others`` at its place (n,)."""
        starts, other_starts = self.offsets[places], others.offsets[other_places]
        sizes = self.offsets[places + 1] - starts
        alike: Bools = sizes == others.offsets[other_places + 1] - other_starts
        compared = np.flatnonzero(alike & (sizes > 0))
        if not len(compared):
            return alike
        sizes = sizes[compared]
        differs = self.data[_spans(starts[compared], sizes)] != others.data[_spans(other_starts[compared], sizes)]
        alike[compared] = ~np.logical_or.reduceat(differs, np.cumsum(sizes) - sizes)
        return alike

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What it consists of, by name; :meth:`of_arrays` reads it."""
        return {"texts": self.data, "offsets": self.offsets}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Texts:
        """The texts that :meth:`arrays` described. What is not UTF-8 is a ValueError."""
        texts = cls(expected(arrays, "texts", np.uint8), expected(arrays, "offsets", np.int64))
        decoder = getincrementaldecoder("utf-8")("surrogatepass")
        for start in range(0, len(texts.data), _AT_ONCE):
            decoder.decode(texts.data[start : start + _AT_ONCE].tobytes())
        decoder.decode(b"", final=True)
        starts = texts.offsets[texts.offsets < len(texts.data)]
        if (texts.data[starts] & 0xC0 == 0x80).any():
            raise ValueError("a text begins within a character")
        return texts


def expected(arrays: Mapping[str, npt.NDArray[Any]], name: str, kind: type[np.generic]) -> npt.NDArray[Any]:
    """The array ``name``, which has one dimension of ``kind``; another is a ValueError."""
    array = arrays[name]
    if array.ndim != 1 or array.dtype != kind:
        raise ValueError(f"{name} is {array.dtype} of {array.ndim} dimensions")
    return array


def offsets_of(sizes: Ints) -> Ints:
    """Where each of n pieces begins, and where the last ends (n+1,)."""
    return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(sizes)))


def _spans(starts: Ints, sizes: Ints) -> Ints:
    """The places start, start+1, …, start+size-1 of every span, one after the other."""
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - sizes), sizes) + np.arange(total)
