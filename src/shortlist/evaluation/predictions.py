"""Predicted labels or ratings to a report: AUC, GAUC and log loss, or RMSE and MAE, with their intervals."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt

from shortlist.errors import SettingsError
from shortlist.evaluation.bootstrap import mean_intervals
from shortlist.evaluation.pointwise import Array, auc, errors, grouped_auc, log_losses, rows_below
from shortlist.evaluation.report import Estimate, Report, estimate

_NORMAL_95 = 1.959963984540054


def evaluate_predictions(
    predictions: npt.ArrayLike,
    *,
    labels: npt.ArrayLike | None = None,
    ratings: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    seed: int = 0,
    bootstrap: int = 1000,
) -> Report:
    """Compare predictions (N,) with the labels or the ratings (N,) that came true.

    ``labels`` (0 or 1, with predictions as probabilities) give ``auc``, ``logloss``, ``ne`` (normalised entropy: the log
    loss over that of always predicting the mean label; He et al. 2014) and ``calibration`` (mean prediction over mean
    label), with ``groups`` (N,), such as users, also ``gauc`` weighted by impressions; ``ratings`` give ``rmse`` and
    ``mae``. Intervals are bootstrapped over rows, or groups for ``gauc``; that of ``auc`` is DeLong's (1988); ``ne`` and
    ``calibration`` have none. ``bootstrap = 0`` leaves the bootstrapped ones out.

    >>> report = evaluate_predictions([2.0, 4.0], ratings=[3.0, 3.0])
    >>> report["rmse"].value
    1.0
    """
    if (labels is None) == (ratings is None):
        raise SettingsError("Give either labels or ratings: what the predictions are compared with.")
    started = time.perf_counter()
    found, per_row, notes = (
        _of_labels(predictions, labels, groups, seed, bootstrap)
        if labels is not None
        else _of_ratings(predictions, ratings, seed, bootstrap)
    )
    truth = np.asarray(ratings if labels is None else labels, dtype=np.float64).ravel()
    return Report(
        metrics=found,
        num_users=len(truth),
        unit="rows",
        protocol="ratings predicted" if labels is None else "labels predicted",
        notes=notes,
        seconds=time.perf_counter() - started,
        per_user=per_row,
        users=np.arange(len(truth)),
        target_keys=truth.view(np.int64) >> 11,
    )


_Result = tuple[tuple[Estimate, ...], dict[str, Array], tuple[str, ...]]


def _of_labels(
    predictions: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike | None, seed: int, resamples: int
) -> _Result:
    losses = log_losses(predictions, labels=labels)
    logloss, rate = _mean("logloss", losses, seed, resamples), float(np.mean(np.asarray(labels, dtype=np.float64)))
    entropy = float(log_losses([rate], labels=[1])[0] * rate + log_losses([rate], labels=[0])[0] * (1 - rate))
    found = (
        _auc(predictions, labels),
        logloss,
        Estimate("ne", logloss.value / entropy if entropy else float("nan")),
        Estimate("calibration", float(np.mean(np.asarray(predictions))) / rate if rate else float("nan")),
    )
    if groups is None:
        return found, {"logloss": losses}, ()
    grouped = grouped_auc(predictions, labels=labels, groups=groups)
    bounds = mean_intervals(grouped.auc[:, None], seed=seed, resamples=resamples, weights=grouped.weights())
    dropped, count = grouped.num_dropped, len(grouped.groups)
    notes = (f"Groups with labels of one kind only, left out of gauc: {dropped:,} of {count:,}.",) if dropped else ()
    return (*found, estimate("gauc", grouped.mean(), bounds[0])), {"logloss": losses}, notes


def _of_ratings(predictions: npt.ArrayLike, ratings: npt.ArrayLike | None, seed: int, resamples: int) -> _Result:
    error = errors(predictions, ratings=() if ratings is None else ratings)
    squared = _mean("rmse", np.square(error), seed, resamples)
    return (_root(squared), _mean("mae", np.abs(error), seed, resamples)), {"mae": np.abs(error)}, ()


def _mean(metric: str, values: Array, seed: int, resamples: int) -> Estimate:
    return estimate(metric, float(values.mean()), mean_intervals(values[:, None], seed=seed, resamples=resamples)[0])


def _root(squared: Estimate) -> Estimate:
    """The root keeps order, so an interval's ends are the roots of the ends."""
    low, high = (None if end is None else end**0.5 for end in (squared.low, squared.high))
    return Estimate(squared.metric, squared.value**0.5, low, high)


def _auc(predictions: npt.ArrayLike, labels: npt.ArrayLike) -> Estimate:
    """AUC with DeLong's interval, from the share of the other class that each row is on the right side of."""
    value = auc(predictions, labels=labels)
    scores, hits = np.asarray(predictions, dtype=np.float64).ravel(), np.asarray(labels).ravel().astype(np.int64)
    others_below = rows_below(scores, np.zeros_like(hits)) - rows_below(scores, hits)
    shares = [others_below[hits == own] / (hits == other).sum() for own, other in ((0, 1), (1, 0))]
    if min(map(len, shares)) < 2:
        return Estimate("auc", value)
    spread = _NORMAL_95 * float(sum(share.var(ddof=1) / len(share) for share in shares)) ** 0.5
    return Estimate("auc", value, max(0.0, value - spread), min(1.0, value + spread))
