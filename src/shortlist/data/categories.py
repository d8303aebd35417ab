"""Values of a column to indices from 1, by what was fitted; 0 is unknown and missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from zlib import crc32

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from shortlist.data.levels import Levels
from shortlist.vocabulary import Vocabulary

FEW_TEXTS = 1000  # up to which they are looked up without a look at every value


class Categories(Protocol):
    """How the values of one column become indices."""

    @property
    def size(self) -> int:
        """Indices, the unknown 0 included."""
        ...

    def indices(self, column: Any) -> Tensor:
        """Indices (N,) int32 of a column of N values: numbers for quantiles, else :class:`Levels`."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy of all but :meth:`arrays`; :func:`categories_from_dict` is the inverse of both."""
        ...

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What may be large, by name."""
        ...


@dataclass(frozen=True, slots=True)
class Known:
    """The values that were seen often enough, as text: value ``v`` has index ``v + 1``."""

    values: Vocabulary

    @classmethod
    def fit(cls, levels: Levels, min_count: int) -> tuple[Known, npt.NDArray[np.int32]]:
        """The values of a column, sorted as text, and the place (V,) of each among them, 0 of rarer ones."""
        rows = pl.int_range(len(levels.texts), dtype=pl.UInt32, eager=True)
        ordered = pl.DataFrame({"text": levels.texts, "row": rows}).sort("text", "row")  # faster than by the text alone
        order = ordered["row"].to_numpy()
        if min_count > 1:
            order = order[(levels.counts >= min_count).numpy()[order]]
        places = np.zeros(len(levels.texts), dtype=np.int32)
        places[order] = np.arange(1, len(order) + 1)
        return cls(Vocabulary.of_distinct(levels.texts.gather(order))), places

    @property
    def size(self) -> int:
        """The values and the unknown one."""
        return len(self.values) + 1

    def indices(self, column: Levels) -> Tensor:
        """The place of each text, 0 for others."""
        return column.spread(torch.from_numpy(self._places(column.texts)))[:]

    def _places(self, texts: pl.Series) -> npt.NDArray[np.int32]:
        """The place (V,) of each text, 0 for others."""
        if len(texts) < max(FEW_TEXTS, len(self.values) // 2):  # as in a request
            return self.values.encode(texts.to_list())
        places = pl.int_range(1, len(self.values) + 1, dtype=pl.Int32, eager=True)
        known = pl.Series(self.values.ids, dtype=pl.String)
        return texts.replace_strict(known, places, default=0, return_dtype=pl.Int32).to_numpy(writable=True)

    def to_dict(self) -> dict[str, Any]:
        """How many there are."""
        return {"values": len(self.values)}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The values."""
        return self.values.arrays()


@dataclass(frozen=True, slots=True)
class Hashed:
    """Texts by a hash (CRC-32) that is the same on every machine; different ones may share an index.

    >>> Hashed(10).indices(Levels.of(pl.Series(["a", "b", None, "a"]))).tolist()
    [8, 2, 0, 8]
    """

    buckets: int

    @property
    def size(self) -> int:
        """The buckets and the one of missing values."""
        return self.buckets + 1

    def indices(self, column: Levels) -> Tensor:
        """The bucket of each text, 0 where it is missing."""
        buckets = [1 + crc32(text.encode()) % self.buckets for text in column.texts]
        return column.spread(torch.tensor(buckets, dtype=torch.int32))[:]

    def to_dict(self) -> dict[str, Any]:
        """The number of buckets."""
        return {"buckets": self.buckets}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """None."""
        return {}


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Numbers by the part of the fitted ones that they fall into: those up to the first edge have index 1.

    >>> Quantiles((1.0, 2.0)).indices(pl.Series([0.5, 1.0, 1.5, 9.0, None])).tolist()
    [1, 1, 2, 3, 0]
    """

    edges: tuple[float, ...]  # ascending

    @classmethod
    def fit(cls, numbers: pl.Series, parts: int) -> Quantiles:
        """Edges between ``parts`` parts of equally many finite numbers; equal edges count once."""
        values = numbers.drop_nulls().to_numpy()
        if not len(values):
            return cls(())
        edges = np.unique(np.quantile(values, np.arange(1, parts) / parts))
        return cls(tuple(edges[edges < values.max()].tolist()))

    @property
    def size(self) -> int:
        """The parts and the one of missing values."""
        return len(self.edges) + 2

    def indices(self, column: pl.Series) -> Tensor:
        """The part of each number, 0 where it is missing."""
        found = np.searchsorted(np.array(self.edges), column.fill_null(0.0).to_numpy(), side="left") + 1
        found[column.is_null().to_numpy()] = 0
        return torch.from_numpy(found.astype(np.int32))

    def to_dict(self) -> dict[str, Any]:
        """The edges."""
        return {"edges": list(self.edges)}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """None."""
        return {}


def categories_from_dict(stated: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Categories:
    """What ``to_dict`` and ``arrays`` described."""
    if "buckets" in stated:
        return Hashed(int(stated["buckets"]))
    if "edges" in stated:
        return Quantiles(tuple(stated["edges"]))
    return Known(Vocabulary.of_arrays(arrays))
