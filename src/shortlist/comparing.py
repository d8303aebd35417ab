"""Two recommenders, or two reports, to the paired difference of a metric and of each stage."""

from __future__ import annotations

from shortlist.contracts import When
from shortlist.data.dataset import Dataset
from shortlist.errors import SettingsError
from shortlist.evaluation import Comparison, Report
from shortlist.evaluation import compare as compare_reports
from shortlist.model import Model
from shortlist.recommender import Recommender
from shortlist.workflow import evaluate

Judged = Report | Recommender | Model


def compare(
    a: Judged,
    b: Judged,
    test: Dataset | None = None,
    *,
    metric: str = "ndcg@10",
    moments: When | None = None,
    exclude_seen: bool = True,
    seed: int = 0,
    bootstrap: int = 1000,
) -> Comparison:
    """How much better ``a`` is than ``b``, user by user, with the 95 % interval of a paired bootstrap over users.

    Recommenders and models are evaluated on ``test``; a :class:`Report` stands for one that has been. ``stages`` of the
    result compares the share of held-out items in each list of the two funnels that is as long in both.

    Raises ``SettingsError`` where there is no ``test`` to evaluate on, and what
    :func:`shortlist.evaluation.compare` raises of two reports that cannot be paired.
    """

    def judged(one: Judged) -> Report:
        if isinstance(one, Report):
            return one
        if test is None:
            raise SettingsError("compare of recommenders needs the part to evaluate them on: sl.compare(a, b, test).")
        return evaluate(one, test, metrics=[metric], moments=moments, exclude_seen=exclude_seen, bootstrap=0, seed=seed)

    return compare_reports(judged(a), judged(b), metric=metric, seed=seed, bootstrap=bootstrap)
