"""Predictions and what truly happened to AUC, log loss, RMSE, MAE and AUC within groups.

All take one value a row, (N,) arrays or CPU tensors, and weigh rows equally.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from shortlist.errors import DataError, SettingsError

Array = npt.NDArray[np.float64]
Weight = Literal["impressions", "positives", "none"]


@dataclass(frozen=True, slots=True)
class GroupedAUC:
    """The AUC of each group (G,), NaN where all labels are equal, with the group's rows and positive labels."""

    groups: npt.NDArray[np.generic]
    auc: Array
    impressions: npt.NDArray[np.int64]
    positives: npt.NDArray[np.int64]

    @property
    def num_dropped(self) -> int:
        """Groups with labels of one kind, which have no AUC."""
        return int(np.isnan(self.auc).sum())

    def mean(self, *, weight: Weight = "impressions") -> float:
        """GAUC: the mean over groups with an AUC, by their impressions (Zhu et al., 2017), positives or equally."""
        weights = self.weights(weight=weight)
        if not weights.any():
            raise DataError(
                f"GAUC needs a group with both labels; none of the {len(self.groups)} groups has. Use coarser groups."
            )
        return float(np.average(np.nan_to_num(self.auc), weights=weights))

    def weights(self, *, weight: Weight = "impressions") -> Array:
        """The weight of each group (G,), 0 where it has no AUC."""
        choices = {"impressions": self.impressions, "positives": self.positives, "none": np.ones(len(self.groups))}
        if weight not in choices:
            raise SettingsError(f"weight is {weight!r}. It is one of: {', '.join(choices)}.")
        return np.where(np.isnan(self.auc), 0.0, choices[weight])


def auc(predictions: npt.ArrayLike, *, labels: npt.ArrayLike) -> float:
    """The chance that a positive row is predicted above a negative one; equal predictions count half.

    Raises ``DataError`` if the labels are not 0 and 1 or are all the same.

    >>> auc([0.9, 0.5, 0.5, 0.1], labels=[1, 1, 0, 0])
    0.875
    """
    result = grouped_auc(predictions, labels=labels, groups=np.zeros(len(np.asarray(labels)), dtype=np.int64))
    if result.num_dropped:
        raise DataError(
            f"AUC needs labels of both kinds; all {result.impressions[0]} labels are {int(result.positives[0] > 0)}."
        )
    return float(result.auc[0])


def grouped_auc(predictions: npt.ArrayLike, *, labels: npt.ArrayLike, groups: npt.ArrayLike) -> GroupedAUC:
    """The AUC within each group, such as a user's impressions; groups come out in sorted order.

    >>> grouped_auc([0.9, 0.1, 0.3, 0.3, 0.7], labels=[1, 0, 0, 1, 1], groups=[4, 4, 2, 2, 8]).auc.tolist()
    [0.5, 1.0, nan]
    """
    scores, hits = _rows(predictions, labels, "labels")
    _check_binary(hits)
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    if len(group) != len(scores):
        raise DataError(f"There are {len(scores)} predictions and {len(group)} groups. Give one group a row.")
    below = rows_below(scores, group)
    impressions = np.bincount(group, minlength=len(names))
    positives = np.bincount(group, weights=hits, minlength=len(names))
    # The places of the positives, less those they take from each other, are what they win against negatives.
    wins = np.bincount(group, weights=below * hits, minlength=len(names)) - positives * (positives - 1) / 2
    pairs = positives * (impressions - positives)
    values = np.divide(wins, pairs, out=np.full(len(names), np.nan), where=pairs > 0)
    return GroupedAUC(names, values, impressions.astype(np.int64), positives.astype(np.int64))


def log_loss(predictions: npt.ArrayLike, *, labels: npt.ArrayLike, clip: float = 1e-7) -> float:
    """Mean binary cross-entropy in nats of predicted probabilities, kept ``clip`` away from 0 and 1."""
    return float(log_losses(predictions, labels=labels, clip=clip).mean())


def log_losses(predictions: npt.ArrayLike, *, labels: npt.ArrayLike, clip: float = 1e-7) -> Array:
    """The binary cross-entropy of each row (N,), in nats.

    >>> log_losses([0.5, 1.0], labels=[1, 1]).round(4).tolist()
    [0.6931, 0.0]
    """
    probabilities, hits = _rows(predictions, labels, "labels")
    _check_binary(hits)
    if probabilities.min() < 0 or probabilities.max() > 1:
        raise DataError(
            f"Log loss needs probabilities; predictions run from {probabilities.min():.4g} to {probabilities.max():.4g}. "
            "Apply the sigmoid to logits first."
        )
    probabilities = probabilities.clip(clip, 1 - clip)
    return np.asarray(-np.where(hits == 1, np.log(probabilities), np.log1p(-probabilities)))


def rmse(predictions: npt.ArrayLike, *, ratings: npt.ArrayLike) -> float:
    """The root of the mean squared error, in the unit of the ratings.

    >>> rmse([3.0, 5.0], ratings=[3.0, 3.0]) == 2**0.5
    True
    """
    return float(np.sqrt(np.square(errors(predictions, ratings=ratings)).mean()))


def mae(predictions: npt.ArrayLike, *, ratings: npt.ArrayLike) -> float:
    """The mean absolute error, in the unit of the ratings."""
    return float(np.abs(errors(predictions, ratings=ratings)).mean())


def errors(predictions: npt.ArrayLike, *, ratings: npt.ArrayLike) -> Array:
    """Prediction less rating of each row (N,)."""
    predicted, truth = _rows(predictions, ratings, "ratings")
    return predicted - truth


def rows_below(scores: Array, group: npt.NDArray[np.int64]) -> Array:
    """How many rows of its own group each row's score exceeds; half of those it equals (N,)."""
    order = np.lexsort((scores, group))
    by_score, by_group = scores[order], group[order]
    starts_group = np.concatenate(([True], by_group[1:] != by_group[:-1]))
    starts_tie = starts_group | np.concatenate(([True], by_score[1:] != by_score[:-1]))
    first = np.flatnonzero(starts_tie)
    last = np.append(first[1:], len(scores)) - 1
    tie = np.cumsum(starts_tie) - 1
    group_start = np.flatnonzero(starts_group)[np.cumsum(starts_group) - 1]
    below = np.empty(len(scores))
    below[order] = ((first + last) / 2)[tie] - group_start
    return below


def _rows(predictions: npt.ArrayLike, truth: npt.ArrayLike, name: str) -> tuple[Array, Array]:
    predicted, true = np.asarray(predictions, dtype=np.float64).ravel(), np.asarray(truth, dtype=np.float64).ravel()
    if len(predicted) != len(true):
        raise DataError(f"There are {len(predicted)} predictions and {len(true)} {name}. Give one of each a row.")
    if not len(predicted):
        raise DataError("There are no predictions to evaluate.")
    for what, values in (("predictions", predicted), (name, true)):
        if not np.isfinite(values).all():
            raise DataError(
                f"{int((~np.isfinite(values)).sum())} of {len(values)} {what} are NaN or infinite. Look for missing values or overflow."
            )
    return predicted, true


def _check_binary(labels: Array) -> None:
    others = np.setdiff1d(labels, (0, 1))
    if len(others):
        raise DataError(
            f"Labels are 0 or 1; found {', '.join(f'{value:g}' for value in others[:3])}. Set a rule for what is positive."
        )
