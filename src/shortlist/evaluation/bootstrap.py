"""Per-user figures to 95 % intervals of their mean: the percentile bootstrap (Efron, 1979) over users."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
MAX_UNITS = 20_000  # beyond, users are bundled at random: the variance of a mean stays, the time too
_COUNTS_PER_CHUNK = 2_000_000  # few large products: many small ones wait for threads on a busy machine


def mean_intervals(values: Array, *, seed: int, resamples: int, weights: Array | None = None) -> Array:
    """The 95 % interval of the (weighted) mean of each column: (M, 2) low and high.

    ``values`` (N,M) has a row per user, NaN where a user does not belong to a column; all columns are resampled
    together. ``weights`` (N,) counts a row more than once. Low and high are NaN without resamples and for columns with
    fewer than two users.

    >>> values = np.array([[0.0], [1.0], [1.0], [0.0]])
    >>> mean_intervals(values, seed=0, resamples=1000).tolist()
    [[0.0, 1.0]]
    """
    present = ~np.isnan(values)
    bounds = np.full((values.shape[1], 2), np.nan)
    if resamples < 1 or len(values) == 0:
        return bounds
    row_weights = np.ones((len(values), 1)) if weights is None else weights[:, None]
    # A resampled mean is a ratio of two sums, so both are drawn with the same counts; columns share their divisors.
    _, first, divisor = np.unique(np.packbits(present, axis=0), axis=1, return_index=True, return_inverse=True)
    sums = np.hstack([np.where(present, values, 0.0), present[:, first]]) * row_weights
    rng = np.random.default_rng(seed)
    totals = _resample(_bundle(sums, rng), rng, resamples)  # (resamples, M + divisors)
    drawn, of = totals[:, : values.shape[1]], totals[:, values.shape[1] :][:, divisor.ravel()]
    for column in np.flatnonzero(present.sum(0) > 1):
        met = of[:, column] > 0  # a small segment may be missing from a resample
        bounds[column] = np.quantile(drawn[met, column] / of[met, column], [0.025, 0.975])
    return bounds


def _bundle(sums: Array, rng: np.random.Generator) -> Array:
    """At most MAX_UNITS rows: the sums of random, equally large bundles of users."""
    if len(sums) <= MAX_UNITS:
        return sums
    starts = np.linspace(0, len(sums), MAX_UNITS, endpoint=False).astype(np.int64)
    return np.asarray(np.add.reduceat(sums[rng.permutation(len(sums))], starts, axis=0))


def _resample(sums: Array, rng: np.random.Generator, resamples: int) -> Array:
    """Column totals of ``resamples`` draws of all rows with replacement (resamples, M)."""
    size = len(sums)
    totals = np.empty((resamples, sums.shape[1]))
    counts = np.empty((min(max(1, _COUNTS_PER_CHUNK // size), resamples), size))
    for start in range(0, resamples, len(counts)):
        rows = min(len(counts), resamples - start)
        for row, drawn in enumerate(rng.integers(0, size, size=(rows, size), dtype=np.int32)):
            counts[row] = np.bincount(drawn, minlength=size)
        totals[start : start + rows] = counts[:rows] @ sums
    return totals
