"""A column as the different texts that it holds and which of them each row has: what is said of texts is said once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from shortlist.data.ids import distinct, positions
from shortlist.errors import DataError

FEW_ROWS = 1000  # up to which texts are looked at one by one


@dataclass(frozen=True, slots=True)
class Levels:
    """The V different values of a column of N rows, as text; empty text is missing.

    A row whose code is ``places[v]`` has text ``v``, and one with another code none.
    """

    texts: pl.Series  # (V,) in no order
    counts: Tensor  # (V,) rows that have it
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
            return cls._counted(known.cast(pl.String), torch.from_numpy(positions(column, known)), first=1)
        if kind.is_float():
            column = column.fill_nan(None).cast(pl.String).str.strip_suffix(".0")
        if len(column) < FEW_ROWS:  # as in a request
            return cls._of_few(column.cast(pl.String))
        if not isinstance(kind, pl.Categorical):
            column = column.cast(pl.String).cast(own_categories())
        own = column.to_physical()
        size = 0 if own.null_count() == len(own) else int(own.max()) + 1  # type: ignore[arg-type]
        texts = pl.Series(np.arange(size), dtype=own.dtype).cat.to(column.dtype).cast(pl.String)
        codes = own.cast(pl.UInt32)
        if codes.null_count():
            codes = codes.fill_null(size)
        return cls._counted(texts, torch.from_numpy(codes.to_numpy(writable=True).view(np.int32)), first=0)

    @classmethod
    def _of_few(cls, texts: pl.Series) -> Levels:
        places: dict[str | None, int] = {}
        codes = [places.setdefault(text, len(places)) for text in texts]
        return cls._counted(pl.Series(list(places), dtype=pl.String), torch.tensor(codes, dtype=torch.int32), first=0)

    @classmethod
    def _counted(cls, texts: pl.Series, codes: Tensor, *, first: int) -> Levels:
        """Only the texts that occur, of those with the codes from ``first``."""
        counts = torch.bincount(codes, minlength=first + len(texts))[first : first + len(texts)]
        there = (counts > 0) & torch.from_numpy((texts.fill_null("") != "").to_numpy(writable=True))
        return cls(texts.filter(pl.Series(there.numpy())), counts[there], there.nonzero().squeeze(1) + first, codes)

    def spread(self, values: Tensor) -> Tensor:
        """The value (N,) of each row, given those of the texts (V,); 0 where there is none."""
        size = int(self.codes.max()) + 1 if len(self.codes) else 0
        return torch.zeros(size, dtype=values.dtype).index_copy_(0, self.places, values).index_select(0, self.codes)


def own_categories() -> pl.Categorical:
    """The type of a text column with codes of its own, small ones."""
    return pl.Categorical(pl.Categories.random())
