"""Predictions and what came true to a reliability curve: whether a share of p came true of what was predicted with p."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shortlist.errors import DataError
from shortlist.evaluation.diagnosis import Reliability

_Z = 1.959963984540054  # of a 95 % interval


def reliability(predictions: npt.ArrayLike, outcomes: npt.ArrayLike, *, of: str, groups: int = 10) -> Reliability:
    """Compare probabilities (N,) with 0/1 outcomes (N,) in ``groups`` of about equal size, by what was predicted.

    Equal predictions stay in one group. ``error`` is the expected calibration error (Naeini et al., 2015) over these
    groups. Raises ``DataError`` for predictions that are no probabilities.

    >>> curve = reliability([0.1, 0.1, 0.9, 0.9], [0, 0, 1, 0], of="clicks", groups=2)
    >>> curve.predicted, curve.observed, round(curve.error, 3)
    ((0.1, 0.9), (0.0, 0.5), 0.25)
    """
    probabilities = np.asarray(predictions, dtype=np.float64).ravel()
    came_true = np.asarray(outcomes, dtype=np.float64).ravel()
    if not len(probabilities) or len(probabilities) != len(came_true):
        raise DataError(
            f"Reliability needs an outcome for each prediction; found {len(came_true)} for {len(probabilities)}."
        )
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise DataError(
            f"Reliability needs probabilities; predictions run from {probabilities.min():.4g} to {probabilities.max():.4g}."
        )
    edges = np.unique(np.quantile(probabilities, np.linspace(0, 1, groups + 1)[1:-1]))
    group = np.searchsorted(edges, probabilities, side="left")
    count = np.bincount(group, minlength=len(edges) + 1).astype(np.float64)
    kept = count > 0
    count = count[kept]
    predicted = np.bincount(group, probabilities, minlength=len(kept))[kept] / count
    observed = np.bincount(group, came_true, minlength=len(kept))[kept] / count
    middle = (observed + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * np.sqrt(observed * (1 - observed) / count + _Z**2 / (4 * count**2))
    return Reliability(
        of=of,
        predicted=tuple(predicted.tolist()),
        observed=tuple(observed.tolist()),
        low=tuple((middle - half).clip(0, 1).tolist()),
        high=tuple((middle + half).clip(0, 1).tolist()),
        num_predictions=len(probabilities),
        mean_predicted=float(probabilities.mean()),
        mean_observed=float(came_true.mean()),
        error=float((np.abs(predicted - observed) * count).sum() / count.sum()),
    )
