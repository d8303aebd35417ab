"""Answers and what happened next to figures that say how good the answers were."""

from shortlist.evaluation.compare import Comparison, compare
from shortlist.evaluation.evaluate import Shortlist, evaluate
from shortlist.evaluation.predictions import evaluate_predictions
from shortlist.evaluation.ranks import given_candidates, ranks, ranks_of_scores
from shortlist.evaluation.report import Estimate, Report, Segment, Stage

__all__ = [
    "Comparison", "Estimate", "Report", "Segment", "Shortlist", "Stage", "compare", "evaluate", "evaluate_predictions",
    "given_candidates", "ranks", "ranks_of_scores",
]  # fmt: skip
