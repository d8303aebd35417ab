"""One column of texts, pictures or ready-made vectors to standardised vectors, by what was fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import polars as pl
import torch
from torch import Tensor

from shortlist.data.pretrained import SentenceEncoder, VisionEncoder
from shortlist.data.text_encoder import DIM, TfidfSVD
from shortlist.data.vector_columns import read_vectors
from shortlist.schema import Feature


class Source(Protocol):
    """What makes vectors of a column."""

    @property
    def width(self) -> int:
        """Numbers in one vector (V)."""
        ...

    def encode(self, column: pl.Series) -> tuple[Tensor, Tensor]:
        """Vectors (N, V) of N rows, and which rows have one (N,)."""
        ...

    def arrays(self) -> dict[str, Tensor]:
        """What was fitted, by name."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """The rest, JSON-ready."""
        ...


@dataclass(frozen=True, slots=True)
class ReadyMade:
    """Vectors as they are."""

    width: int

    def encode(self, column: pl.Series) -> tuple[Tensor, Tensor]:
        """Vectors (N, V) of N rows, and which rows have one (N,)."""
        return read_vectors(column, width=self.width)

    def arrays(self) -> dict[str, Tensor]:
        """Nothing is fitted."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """The width."""
        return {"kind": "ready", "width": self.width}


@dataclass(frozen=True, slots=True, eq=False)
class VectorEncoder:
    """A column's vectors less their mean, by one number that brings their spread to 1; a missing one is 0, the mean.

    One number for all dimensions keeps the angles and the proportions that the encoder made.
    """

    source: Source
    mean: Tensor  # (V,) float32
    spread: float

    @classmethod
    def fit(cls, column: pl.Series, feature: Feature) -> VectorEncoder:
        """Learn from a column, of which at least one row must have a value."""
        source: Source
        if feature.kind == "vector":
            source = ReadyMade(read_vectors(column)[0].shape[1])
        elif feature.kind == "image":
            assert feature.encoder is not None
            source = VisionEncoder.fit(column, feature.encoder)
        elif feature.encoder in (None, "tfidf"):
            source = TfidfSVD.fit(column, DIM if feature.dim is None else feature.dim)
        else:
            assert feature.encoder is not None
            source = SentenceEncoder.fit(column, feature.encoder)
        vectors, there = source.encode(column)
        known = vectors[there]
        mean = known.mean(0)
        spread = float((known - mean).square().mean().sqrt())
        return cls(source, mean, spread if spread > 0 else 1.0)

    @property
    def width(self) -> int:
        """Numbers in one vector (V)."""
        return self.source.width

    def encode(self, column: pl.Series) -> Tensor:
        """Standardised vectors (N, V) float32 of N rows; 0 where a row has nothing."""
        vectors, there = self.source.encode(column)
        return ((vectors - self.mean) / self.spread).masked_fill(~there[:, None], 0)

    def arrays(self) -> dict[str, Tensor]:
        """What was fitted, by name."""
        return {"mean": self.mean, **self.source.arrays()}

    def to_dict(self) -> dict[str, Any]:
        """The rest, JSON-ready; :meth:`from_dict` reads both."""
        return {"source": self.source.to_dict(), "spread": self.spread}

    @classmethod
    def from_dict(cls, stated: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> VectorEncoder:
        """The encoder that :meth:`to_dict` and :meth:`arrays` described."""
        source, found = dict(stated["source"]), {name: table for name, table in arrays.items() if name != "mean"}
        kinds: dict[str, type[Source]] = {
            "ready": ReadyMade, "tfidf": TfidfSVD, "sentences": SentenceEncoder, "pictures": VisionEncoder,
        }  # fmt: skip
        return cls(kinds[source.pop("kind")](**source, **found), arrays["mean"], float(stated["spread"]))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VectorEncoder) or self.to_dict() != other.to_dict():
            return False
        mine, theirs = self.arrays(), other.arrays()
        return mine.keys() == theirs.keys() and all(torch.equal(table, theirs[name]) for name, table in mine.items())

    def __hash__(self) -> int:
        return hash((self.width, self.spread))
