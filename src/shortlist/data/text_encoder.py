"""Texts to vectors: counts of hashed character n-grams, weighted by TF-IDF and reduced by a singular value decomposition.

It is latent semantic analysis (Deerwester et al. 1990, "Indexing by latent semantic analysis") over n-grams instead of
words: it needs no download and no dictionary, and a misspelt word is near the right one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from shortlist.errors import DataError

BUCKETS = 2**16
NGRAMS = (3, 5)  # characters, within words and their borders
FIT_TEXTS = 50_000  # drawn to fit on, where there are more
BLOCK = 4096
DIM = 64  # unless the feature says another


def distinct_texts(column: pl.Series) -> tuple[list[str], Tensor]:
    """The different texts (M,) of a column, and which of them each row (N,) has; -1 where it is null or blank."""
    if column.dtype.is_nested() or column.dtype == pl.Binary:
        raise DataError(f"Feature {column.name!r} is text, and the column holds {column.dtype}. Give text.")
    texts = column.cast(pl.String).str.strip_chars().replace("", None)
    known = texts.drop_nulls().unique(maintain_order=True)
    places = pl.int_range(len(known), dtype=pl.Int64, eager=True)
    rows = (
        texts.replace_strict(known, places, default=-1, return_dtype=pl.Int64)
        if len(known)
        else texts.is_null().cast(pl.Int64) - 2
    )
    return known.to_list(), torch.from_numpy(rows.to_numpy(writable=True)).clamp(min=-1)


def spread(vectors: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The vectors (N, D) of rows (N,) that point into ``vectors`` (M, D), and which rows point anywhere (N,)."""
    there = rows >= 0
    found = vectors.new_zeros(len(rows), vectors.shape[1])
    found[there] = vectors[rows[there]]
    return found, there


@dataclass(frozen=True, slots=True, eq=False)
class TfidfSVD:
    """What was fitted: the buckets of n-grams that occur, their weights, and what each says of every dimension.

    n-grams that no fitted text has say nothing.
    """

    buckets: Tensor  # (K,) int64, ascending
    idf: Tensor  # (K,) float32
    components: Tensor  # (K, D) float32

    @classmethod
    def fit(cls, column: pl.Series, dim: int) -> TfidfSVD:
        """Learn ``dim`` dimensions from a column; fewer where there are fewer texts. No text at all is a :class:`DataError`."""
        from sklearn.decomposition import TruncatedSVD

        texts, _ = distinct_texts(column)
        if not texts:
            raise DataError(f"Feature {column.name!r} is text, and none of {len(column):,} rows has any. Leave it out.")
        if len(texts) > FIT_TEXTS:
            chosen = np.random.default_rng(0).choice(len(texts), FIT_TEXTS, replace=False)
            texts = [texts[place] for place in sorted(chosen)]
        counts = _counts(texts)
        found = np.bincount(counts.indices, minlength=BUCKETS)  # texts that have each
        buckets = np.flatnonzero(found)
        idf = (np.log((1 + len(texts)) / (1 + found[buckets])) + 1).astype(np.float32)
        weighted = _weighted(counts[:, buckets], idf)
        svd = TruncatedSVD(min(dim, len(texts), len(buckets)), random_state=0).fit(weighted)
        components = np.ascontiguousarray(svd.components_.T, dtype=np.float32)
        return cls(torch.from_numpy(buckets), torch.from_numpy(idf), torch.from_numpy(components))

    @property
    def width(self) -> int:
        """Numbers in one vector (D)."""
        return self.components.shape[1]

    def encode(self, column: pl.Series) -> tuple[Tensor, Tensor]:
        """Vectors (N, D) of the texts of N rows, and which rows have one (N,)."""
        texts, rows = distinct_texts(column)
        buckets, idf, components = self.buckets.numpy(), self.idf.numpy(), self.components.numpy()
        parts = [np.zeros((0, self.width), dtype=np.float32)]
        for start in range(0, len(texts), BLOCK):
            parts.append(_weighted(_counts(texts[start : start + BLOCK])[:, buckets], idf) @ components)
        return spread(torch.from_numpy(np.concatenate(parts)), rows)

    def arrays(self) -> dict[str, Tensor]:
        """What was fitted, by name."""
        return {"buckets": self.buckets, "idf": self.idf, "components": self.components}

    def to_dict(self) -> dict[str, Any]:
        """What it is; the rest is in :meth:`arrays`."""
        return {"kind": "tfidf"}


def _counts(texts: Sequence[str]) -> Any:
    """How often each text (M) has an n-gram of each bucket: a sparse matrix (M, BUCKETS) of float32."""
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(
        analyzer="char_wb", ngram_range=NGRAMS, n_features=BUCKETS, norm=None, alternate_sign=False, dtype=np.float32
    )
    return hashing.transform(texts)


def _weighted(counts: Any, idf: Any) -> Any:
    """Counts (M, K) as (1 + log count) idf, every text of length 1."""
    from sklearn.preprocessing import normalize

    counts.data = (1 + np.log(counts.data)) * idf[counts.indices]
    return normalize(counts, copy=False)
