"""Answers and what happened next to figures that say how good the answers were."""

from shortlist.evaluation.compare import Comparison, Standing, compare
from shortlist.evaluation.evaluate import Shortlist, evaluate
from shortlist.evaluation.metrics import parse
from shortlist.evaluation.predictions import evaluate_predictions
from shortlist.evaluation.ranks import given_candidates, ranks, ranks_of_scores
from shortlist.evaluation.report import Estimate, Report, Segment, Stage
from shortlist.evaluation.stages import Steps

__all__ = [
    "Comparison", "Estimate", "Report", "Segment", "Shortlist", "Stage", "Standing", "Steps", "compare", "evaluate",
    "evaluate_predictions", "given_candidates", "parse", "ranks", "ranks_of_scores",
]  # fmt: skip
