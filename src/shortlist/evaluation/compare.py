"""Two reports on the same users to the difference of a metric with its interval: the paired bootstrap over users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from shortlist.errors import DataError, SettingsError, nearest
from shortlist.evaluation.bootstrap import Array, mean_intervals
from shortlist.evaluation.metrics import parse
from shortlist.evaluation.report import Report


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much higher ``metric`` is in the first report than in the second, over the users of both.

    ``stages`` compares the share of held-out items in each list of the funnel that is as long in both reports.
    """

    metric: str
    difference: float
    low: float  # 95 % interval of the difference
    high: float
    relative: float  # the difference as a share of the second report's value
    num_users: int
    stages: tuple[Comparison, ...] = ()

    @property
    def is_significant(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        verdict = "" if self.is_significant else ", not told apart from 0"
        return (
            f"{self.metric}: {self.difference:+.4f} ({self.low:+.4f} to {self.high:+.4f}), "
            f"{self.relative:+.1%}, {self.num_users:,} users{verdict}"
        )

    def table(self) -> str:
        """The metric and then each stage, one a line."""
        return "\n".join(map(str, (self, *self.stages)))


def compare(a: Report, b: Report, *, metric: str = "ndcg@10", seed: int = 0, bootstrap: int = 1000) -> Comparison:
    """How much better ``a`` is than ``b``, user by user.

    Pairing takes out what makes a user hard for both, so the interval is narrower than the two reports' own suggest.
    Users may come in another order in each report. A user for whom either has no value is left out.

    Raises ``DataError`` if the reports are on different users, targets or protocols, and ``SettingsError`` for a metric
    that either did not measure per user.
    """
    name = str(parse(metric)) if "@" in metric else metric
    for report in (a, b):
        if name not in report.per_user:
            known = ", ".join(report.per_user)
            raise SettingsError(
                f"A report has no values of {metric!r} per user.{nearest(metric, report.per_user)} It has: {known}."
            )
    if a.protocol != b.protocol:
        raise DataError(
            f"The reports rank among different items: {a.protocol!r} and {b.protocol!r}. Evaluate both the same way."
        )
    first, second = _paired(a, b)
    columns = [(name, a.per_user[name], b.per_user[name])]
    slots = {stage.name: stage.slots for stage in b.stages}
    for stage in a.stages:
        if stage.slots is not None and stage.slots == slots.get(stage.name):
            figure = f"{stage.name}/recall"
            columns.append((f"{stage.name}, recall@{stage.slots}", a.per_stage[figure], b.per_stage[figure]))
    pairs = [(label, ours[first], theirs[second]) for label, ours, theirs in columns]
    differences = np.column_stack([ours - theirs for _, ours, theirs in pairs])
    both = int((~np.isnan(differences[:, 0])).sum())
    if both < 2:
        raise DataError(f"Only {both} users have a value of {name} in both reports; a comparison needs two.")
    bounds = mean_intervals(differences, seed=seed, resamples=bootstrap)
    found = [_comparison(*pair, ends) for pair, ends in zip(pairs, bounds.tolist(), strict=True)]
    return replace(found[0], stages=tuple(found[1:]))


def _comparison(label: str, ours: Array, theirs: Array, ends: list[float]) -> Comparison:
    both = ~(np.isnan(ours) | np.isnan(theirs))
    ours, theirs = ours[both], theirs[both]
    difference, base = float(np.mean(ours - theirs)), float(np.mean(theirs))
    relative = difference / base if base else (0.0 if difference == 0 else float(np.copysign(np.inf, difference)))
    low, high = ends
    return Comparison(label, difference, low, high, relative, len(ours))


def _paired(a: Report, b: Report) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The rows of both reports that are the same request."""
    order_a, order_b = (np.lexsort((report.target_keys, report.users)) for report in (a, b))
    if len(order_a) != len(order_b) or not np.array_equal(a.users[order_a], b.users[order_b]):
        common = len(np.intersect1d(a.users, b.users))
        raise DataError(
            f"The reports are on different users: {len(a.users):,} and {len(b.users):,}, {common:,} in both. "
            "Evaluate both on the same split."
        )
    differing = int((a.target_keys[order_a] != b.target_keys[order_b]).sum())
    if differing:
        raise DataError(
            f"{differing:,} of {len(order_a):,} users have other targets in the two reports. Evaluate both on the same split."
        )
    # In the same order already, rows of equal user and targets (sessions of an unknown user) pair by their place.
    if np.array_equal(a.users, b.users) and np.array_equal(a.target_keys, b.target_keys):
        return np.arange(len(order_a)), np.arange(len(order_b))
    return order_a, order_b


@dataclass(frozen=True, slots=True)
class Standing:
    """A recommender's report beside those of others on the same data, and the paired differences to them."""

    reports: Mapping[str, Report]
    differences: Mapping[str, Comparison]

    def __str__(self) -> str:
        first = next(iter(self.reports.values()))
        names = [estimate.metric for estimate in first.metrics]
        width = max(len(name) for name in self.reports)
        lines = [" " * width + "".join(f"{name:>14}" for name in names)]
        for name, report in self.reports.items():
            lines.append(f"{name:<{width}}" + "".join(f"{report[metric].value:>14.4f}" for metric in names))
        lines += ["", "difference to", *(f"{name:<{width}}  {found}" for name, found in self.differences.items())]
        return "\n".join([str(first), "", *lines])
