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

Array = npt.NDArray[np.float64]
Part = tuple[str, str]  # ("all", "all"), ("users", "heavy"), ("items", "tail"), …

STEP_OF = {"exact": "exact search", "retrieved": "search", "ranked": "rank"}  # what a stage's time is spent on


def by_part(
    columns: Mapping[str, Array], *, metrics: Sequence[Metric], segments: Sequence[str], history: Array
) -> dict[Part, dict[str, Array]]:
    """The figures per request of each part of the users and targets, by metric; NaN where a request is not in the part.

    ``columns`` are keyed ``"all/METRIC"`` and ``"SEGMENT/METRIC"`` for the ``segments`` of items; ``history`` (N,) is
    how many events are known of each user.
    """
    per_user = {str(metric): columns[f"all/{metric}"] for metric in metrics if metric.name != "coverage"}
    parts: dict[Part, dict[str, Array]] = {("all", "all"): per_user, **_of_users(per_user, history)}
    for name in segments:
        parts["items", name] = {str(metric): columns[f"{name}/{metric}"] for metric in metrics if metric.is_accuracy}
    return parts


def stages_by_part(columns: Mapping[str, Array], *, history: Array) -> dict[Part, dict[str, Array]]:
    """The same of the stages: from columns keyed ``"PART/STAGE/FIGURE"`` to ``"STAGE/FIGURE"`` by part."""
    own: dict[str, dict[str, Array]] = {}
    for name, values in columns.items():
        part, figure = name.split("/", 1)
        own.setdefault(part, {})[figure] = values
    parts: dict[Part, dict[str, Array]] = {("all", "all"): own.pop("all")}
    parts |= _of_users(parts["all", "all"], history)
    return parts | {("items", name): figures for name, figures in own.items()}


def _of_users(figures: Mapping[str, Array], history: Array) -> dict[Part, dict[str, Array]]:
    return {
        ("users", name): {figure: np.where(which.numpy(), values, np.nan) for figure, values in figures.items()}
        for name, which in user_segments(torch.from_numpy(history)).items()
    }


def estimates(
    parts: Mapping[Part, Mapping[str, Array]], *, seed: int, resamples: int
) -> dict[Part, dict[str, Estimate]]:
    """Mean and interval of every figure of every part, all from the same resamples.

    Rows that only some figures have come last; the others are taken not to exist there.
    """
    names = [(part, figure) for part, figures in parts.items() for figure in figures]
    if not names:
        return {part: {} for part in parts}
    values = np.full((max(len(parts[part][figure]) for part, figure in names), len(names)), np.nan)
    for column, (part, figure) in enumerate(names):
        values[: len(parts[part][figure]), column] = parts[part][figure]
    bounds = mean_intervals(values, seed=seed, resamples=resamples)
    count = (~np.isnan(values)).sum(0)
    means = np.where(count > 0, np.nansum(values, 0) / np.maximum(count, 1), np.nan)
    found: dict[Part, dict[str, Estimate]] = {part: {} for part in parts}
    for (part, figure), mean, ends in zip(names, means, bounds, strict=True):
        found[part][figure] = estimate(figure.rpartition("/")[2], float(mean), ends)
    return found


def segment_table(
    parts: Mapping[Part, Mapping[str, Array]],
    found: Mapping[Part, Mapping[str, Estimate]],
    stages: Mapping[Part, tuple[Stage, ...]],
) -> tuple[Segment, ...]:
    """The segments that have at least one user."""
    meanings = {**USER_SEGMENTS, **ITEM_SEGMENTS}
    segments = []
    for part, figures in parts.items():
        num_users = max((int((~np.isnan(values)).sum()) for values in figures.values()), default=0)
        if part[0] != "all" and num_users:
            metrics = tuple(found[part][metric] for metric in figures)
            segments.append(Segment(*part, meanings[part[1]], num_users, metrics, stages.get(part, ())))
    return tuple(segments)


def stage_table(
    figures: Mapping[str, Array],
    found: Mapping[str, Estimate],
    *,
    meanings: Mapping[str, str],
    k: int,
    candidates: int,
    ms: Mapping[str, float],
) -> tuple[Stage, ...]:
    """The funnel of one part, from arrays and estimates keyed ``"STAGE/FIGURE"``; ``ms`` are of a request, by step."""
    stages = []
    for name in dict.fromkeys(figure.split("/")[0] for figure in figures):
        ndcg, size = found.get(f"{name}/ndcg"), figures.get(f"{name}/size")
        stages.append(
            Stage(
                name=name,
                meaning=meanings[name],
                targets=int(np.nansum(figures[f"{name}/targets"])),
                recall=found[f"{name}/recall"],
                ndcg=None if ndcg is None else Estimate(f"ndcg@{k}", ndcg.value, ndcg.low, ndcg.high),
                slots={"unranked": k, "ranked": k}.get(name, candidates) if f"{name}/size" in figures else None,
                size=None if size is None or np.isnan(size).all() else float(np.nanmean(size)),
                ms=ms.get(STEP_OF.get(name, "")),
            )
        )
    return tuple(stages)


def stage_meanings(*, k: int, candidates: int, is_reranked: bool, is_exact: bool) -> dict[str, str]:
    """What each stage is, in a few words."""
    width = f"{candidates:,} candidates" if is_reranked else f"top {k:,}"
    return {
        "held out": "held out",
        "catalogue": "in the catalogue",
        "allowed": "let through by the filters",
        "exact": f"exact search, {width}",
        "retrieved": f"{'exact search' if is_exact else 'index'}, {width}",
        "filtered": f"filtered after the search, {width}",
        "unranked": f"top {k:,} before re-ranking",
        "ranked": f"top {k:,} after re-ranking",
    }
