"""The lists after each step of the funnel to what every step still holds of the targets: where quality is lost."""

from __future__ import annotations

import torch
from torch import Tensor

from shortlist.contracts import Candidates, Stages
from shortlist.evaluation.metrics import Metric, measure
from shortlist.evaluation.ranks import found, is_ordered, ranks

STAGES = ("retrieved", "filtered", "ranked")


def stage_columns(
    stages: Stages, targets: Tensor, *, k: int, depth: int, is_cut: bool, ranked: Tensor
) -> dict[str, Tensor]:
    """Per request and stage: the share of targets in the list, the list's size, and NDCG@k where the list is ordered.

    ``targets`` (B,S) hold at least one item a row, each once; ``ranked`` (B,S) are their ranks in the final list, which
    counts with its first ``k`` slots only. Earlier lists count whole. A list of ``depth`` slots or more may have been
    cut if ``is_cut`` says that there are more items. Keys are ``"stage/figure"``, values (B,) float64.
    """
    count = (targets != 0).sum(1)
    shown = Candidates(stages.ranked.items[:, :k], stages.ranked.scores[:, :k])
    figures = {"ranked": _figures(shown, targets, measure(Metric("ndcg", k), ranked, count))}
    for name, answered in (("retrieved", stages.retrieved), ("filtered", stages.filtered)):
        if name == "filtered" and answered is stages.retrieved:
            figures[name] = figures["retrieved"]
            continue
        ndcg = None
        if answered is stages.ranked:
            ndcg = figures["ranked"]["ndcg"]
        elif is_ordered(answered):
            own = ranks(answered, targets, is_cut=is_cut and answered.items.shape[1] >= depth)
            ndcg = measure(Metric("ndcg", k), own, count)
        figures[name] = _figures(answered, targets, ndcg)
    return {f"{name}/{figure}": values for name in STAGES for figure, values in figures[name].items()}


def _figures(answered: Candidates, targets: Tensor, ndcg: Tensor | None) -> dict[str, Tensor]:
    """A list's figures (B,) each; NaN stands for the NDCG of a list without order."""
    recall = found(answered.items, targets).sum(1).double() / (targets != 0).sum(1)
    unknown = torch.full_like(recall, torch.nan)
    return {"recall": recall, "size": answered.valid.sum(1).double(), "ndcg": unknown if ndcg is None else ndcg}
