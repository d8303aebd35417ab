"""A column as the different texts that it holds and which of them each row has: what is said of texts is said once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from shortlist.data.ids import distinct, positions
from shortlist.errors import DataError

FEW_ROWS = 1000  # up to which texts are looked at one by one
MOST_BITS = 26  # of a hash that say where it is looked for: 256 MB
BLOCK = 1 << 16  # rows worked on at a time: temporaries stay small and in cache


@dataclass(frozen=True, slots=True)
class Levels:
    """The V different values of a column of N rows, as text; empty text is missing.

    A row whose code is ``places[v]`` has text ``v``, and one with another code none.
    """

    texts: pl.Series  # (V,) in no order
    places: Tensor  # (V,)
    codes: Tensor  # (N,) int32

    @classmethod
    def of(cls, column: pl.Series) -> Levels:
        """Whole numbers, texts, categories and what can be written as text; 3.0 and 3 are the same value."""
        kind = column.dtype
        if kind.is_nested():
            raise DataError(f'Feature {column.name!r} holds {kind}. Make its kind "multi", or leave it out.')
        if kind.is_integer() and kind not in (pl.UInt64, pl.Int128) and not column.null_count():
            known = distinct(column)
            return cls._of_known(known.cast(pl.String), torch.from_numpy(positions(column, known)), first=1)
        if kind.is_float():
            column = column.fill_nan(None).cast(pl.String).str.strip_suffix(".0")
        if len(column) < FEW_ROWS:  # as in a request
            return cls._of_few(column.cast(pl.String))
        if not isinstance(kind, pl.Categorical):
            column = column.cast(pl.String)
            numbers, firsts = _numbered(column.hash().to_numpy())
            return cls._of_known(column.gather(firsts), torch.from_numpy(numbers))
        own = column.to_physical()
        size = 0 if own.null_count() == len(own) else int(own.max()) + 1  # type: ignore[arg-type]
        texts = pl.Series(np.arange(size), dtype=own.dtype).cat.to(column.dtype).cast(pl.String)
        codes = own.cast(pl.UInt32)
        if codes.null_count():
            codes = codes.fill_null(size)
        numbered = torch.from_numpy(codes.to_numpy(writable=True).view(np.int32))
        return cls._of_known(texts, numbered, occurs=torch.bincount(numbered, minlength=size)[:size] > 0)

    @classmethod
    def _of_few(cls, texts: pl.Series) -> Levels:
        places: dict[str | None, int] = {}
        codes = [places.setdefault(text, len(places)) for text in texts]
        return cls._of_known(pl.Series(list(places), dtype=pl.String), torch.tensor(codes, dtype=torch.int32))

    @classmethod
    def _of_known(cls, texts: pl.Series, codes: Tensor, *, first: int = 0, occurs: Tensor | None = None) -> Levels:
        """Of texts with the codes from ``first``, those that are not missing and, where some do not, that occur."""
        there = torch.from_numpy((texts.fill_null("") != "").to_numpy(writable=True))
        if occurs is not None:
            there &= occurs
        return cls(texts.filter(pl.Series(there.numpy())), there.nonzero().squeeze(1) + first, codes)

    @property
    def counts(self) -> Tensor:
        """The rows (V,) that have each text."""
        size = int(self.places.max()) + 1 if len(self.places) else 0
        return torch.bincount(self.codes, minlength=size)[self.places]

    def spread(self, values: Tensor, *, missing: int = 0) -> Spread:
        """The value (N,) of each row, given those of the texts (V,); ``missing`` where there is none."""
        size = int(self.codes.max()) + 1 if len(self.codes) else 0
        by_code = torch.full((size,), missing, dtype=values.dtype)
        return Spread(by_code.index_copy_(0, self.places, values), self.codes)


@dataclass(frozen=True, slots=True)
class Spread:
    """The values (N,) of rows, by the row's code: a span of them is made when it is asked for."""

    by_code: Tensor
    codes: Tensor

    @property
    def dtype(self) -> torch.dtype:
        """Of a value."""
        return self.by_code.dtype

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: slice) -> Tensor:
        return self.by_code.index_select(0, self.codes[rows])


def _numbered(hashes: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """For each row (N,) a number from 0 that rows of equal hashes share, and for each number a row that has it.

    Of two texts in ten million columns with a million different ones 64-bit hashes are equal by chance. To compare texts
    takes three to five times as long.
    """
    num, shift = len(hashes), np.uint64(64 - min(len(hashes).bit_length() + 1, MOST_BITS))
    blocks = [(slice(start, start + BLOCK), hashes[start : start + BLOCK]) for start in range(0, num, BLOCK)]
    row_in = np.empty(1 << int(64 - shift), dtype=np.int32)  # in each slot that is met, one of the rows that meet there
    for block, some in blocks:
        row_in[(some >> shift).view(np.int64)] = np.arange(block.start, block.start + len(some), dtype=np.int32)
    first, others, own = np.empty(num, dtype=np.int32), list[npt.NDArray[np.int64]](), list[npt.NDArray[np.int64]]()
    for block, some in blocks:  # clipping is faster than to raise where a place is outside, which none is
        row_in.take((some >> shift).view(np.int64), mode="clip", out=first[block])
        others.append(np.flatnonzero(hashes.take(first[block], mode="clip") != some) + block.start)
    met = np.concatenate(others)  # rows of another hash met in the slot
    if len(met):
        _, one, which = np.unique(hashes[met], return_index=True, return_inverse=True)
        first[met] = met[one][which]
    for block, some in blocks:
        rows = np.arange(block.start, block.start + len(some), dtype=np.int32)
        own.append(np.flatnonzero(first[block] == rows) + block.start)
    firsts = np.concatenate(own)
    number = np.empty(num, dtype=np.int32)
    number[firsts] = np.arange(len(firsts), dtype=np.int32)
    for block, _ in blocks:
        first[block] = number.take(first[block], mode="clip")
    return first, firsts
