"""Figures per request to a report: means, intervals, and the same by segment and by stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from shortlist.evaluation.bootstrap import mean_intervals
from shortlist.evaluation.metrics import Metric
from shortlist.evaluation.report import Estimate, Segment, Stage, estimate
from shortlist.evaluation.segments import ITEM_SEGMENTS, USER_SEGMENTS, user_segments
from shortlist.evaluation.stages import STAGES

Array = npt.NDArray[np.float64]
Part = tuple[str, str]  # ("all", "all"), ("users", "heavy"), ("items", "tail"), …


def by_part(
    columns: Mapping[str, Array], *, metrics: Sequence[Metric], segments: Sequence[str], history: Array
) -> dict[Part, dict[str, Array]]:
    """The figures per request of each part of the users and targets, by metric; NaN where a request is not in the part.

    ``columns`` are keyed ``"all/METRIC"`` and ``"SEGMENT/METRIC"`` for the ``segments`` of items; ``history`` (N,) is
    how many events are known of each user.
    """
    per_user = {str(metric): columns[f"all/{metric}"] for metric in metrics if metric.name != "coverage"}
    parts: dict[Part, dict[str, Array]] = {("all", "all"): per_user}
    for name, which in user_segments(torch.from_numpy(history)).items():
        parts["users", name] = {metric: np.where(which.numpy(), values, np.nan) for metric, values in per_user.items()}
    for name in segments:
        parts["items", name] = {str(metric): columns[f"{name}/{metric}"] for metric in metrics if metric.is_accuracy}
    return parts


def estimates(
    parts: Mapping[Part, Mapping[str, Array]], *, seed: int, resamples: int
) -> dict[Part, tuple[Estimate, ...]]:
    """Mean and interval of every figure of every part, all from the same resamples."""
    names = [(part, metric) for part, figures in parts.items() for metric in figures]
    if not names:
        return dict.fromkeys(parts, ())
    values = np.column_stack([parts[part][metric] for part, metric in names])
    bounds = mean_intervals(values, seed=seed, resamples=resamples)
    count = (~np.isnan(values)).sum(0)
    means = np.where(count > 0, np.nansum(values, 0) / np.maximum(count, 1), np.nan)
    found = {name: estimate(name[1], float(mean), ends) for name, mean, ends in zip(names, means, bounds, strict=True)}
    return {part: tuple(found[part, metric] for metric in figures) for part, figures in parts.items()}


def segment_table(
    parts: Mapping[Part, Mapping[str, Array]], found: Mapping[Part, tuple[Estimate, ...]]
) -> tuple[Segment, ...]:
    """The segments that have at least one user."""
    meanings = {**USER_SEGMENTS, **ITEM_SEGMENTS}
    segments = []
    for part, figures in parts.items():
        num_users = max((int((~np.isnan(values)).sum()) for values in figures.values()), default=0)
        if part[0] != "all" and num_users:
            segments.append(Segment(*part, meanings[part[1]], num_users, found[part]))
    return tuple(segments)


def stage_table(columns: Mapping[str, Array]) -> tuple[Stage, ...]:
    """The funnel, from columns keyed ``"STAGE/FIGURE"``."""
    stages = []
    for name in STAGES:
        recall, size, ndcg = (float(columns[f"{name}/{figure}"].mean()) for figure in ("recall", "size", "ndcg"))
        stages.append(Stage(name, recall, size, None if np.isnan(ndcg) else ndcg))
    return tuple(stages)
