"""A shortlist function and the items that came next to a report: figures with intervals, by segment and by stage.

It does not know which models answer, nor where the requests came from.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from shortlist.contracts import Candidates, EvaluationBatch, Filter, Requests, Stages
from shortlist.errors import DataError, SettingsError
from shortlist.evaluation.catalogue import diversity, novelty, self_information, unit_vectors
from shortlist.evaluation.metrics import Metric, measure, parse_all
from shortlist.evaluation.protocol import count_unreachable, describe, ranked_among, target_keys, with_targets
from shortlist.evaluation.ranks import distinct, ranks
from shortlist.evaluation.report import Estimate, Report
from shortlist.evaluation.segments import item_segments
from shortlist.evaluation.stages import STAGES, stage_columns
from shortlist.evaluation.summary import by_part, estimates, segment_table, stage_table

METRICS = ("ndcg@10", "hr@10", "recall@20", "mrr@10", "coverage@10")


class Shortlist(Protocol):
    """What is evaluated: the function that serves, from requests to the list after each step of the funnel."""

    def __call__(self, requests: Requests, /, *, k: int, filter: Filter) -> Stages:
        """Answer B requests with the best ``k`` items each that the filter lets through."""
        ...


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to measure of every answer."""

    metrics: tuple[Metric, ...]
    num_items: int
    segments: Mapping[str, Tensor]  # which items (I+1,) belong to it
    information: Tensor | None  # (I+1,) bits
    vectors: Tensor | None  # (I+1, D) of length 1

    @property
    def k(self) -> int:
        return max(metric.k for metric in self.metrics)

    @property
    def depth(self) -> int:
        """Slots to ask for. A tie that fills more than 2k slots has its mean rank behind k: more would change nothing."""
        return min(2 * self.k + 1, self.num_items)

    @property
    def is_cut(self) -> bool:
        return self.depth < self.num_items


@dataclass(slots=True)
class _Tally:
    """What is collected batch by batch."""

    columns: dict[str, list[Tensor]] = field(default_factory=dict)  # a row per request
    answered: dict[Metric, Tensor] = field(default_factory=dict)  # coverage's metrics: (I+1,) which items were shown
    protocols: list[tuple[str, int, int]] = field(default_factory=list)
    num_requests: int = 0
    num_skipped: int = 0
    num_targets: int = 0
    num_repeated: int = 0
    num_unreachable: int = 0
    answering_s: float = 0.0


def evaluate(
    shortlist: Shortlist,
    batches: Iterable[EvaluationBatch],
    *,
    num_items: int,
    metrics: Sequence[str] = METRICS,
    item_counts: Tensor | None = None,
    item_vectors: Tensor | None = None,
    seed: int = 0,
    bootstrap: int = 1000,
) -> Report:
    """Ask for a shortlist for every request and compare it with what came next.

    ``batches`` give the requests with their targets (B,S) and filters; ``num_items`` is I, the size of the catalogue.
    ``metrics`` are names with a cut-off, ``"ndcg@10"``. ``item_counts`` (I+1,) are the items' training events, which
    ``novelty`` and the segments of items need; ``item_vectors`` (I+1,D) are what ``diversity`` compares. ``bootstrap``
    is the number of resamples behind the 95 % intervals; 0 leaves them out.

    All items are ranked unless a request's filter allows fewer; a filter that lists the candidates of each request is a
    sampled protocol, and the report says so. Every request weighs the same. Requests without a target are left out and
    counted; targets that the filter keeps out of the answer count as not found.

    Ties are ranked as :func:`~shortlist.evaluation.ranks.ranks` says. To know a tie's length, lists of 2k+1 slots are
    asked for, k being the largest cut-off: for a single target the figures are those of asking for all items.

    Raises ``SettingsError`` for an unknown metric or one whose data is missing, ``DataError`` for targets or answers
    outside of the catalogue, answers out of order, or no target at all.
    """
    started = time.perf_counter()
    plan = _plan(parse_all(metrics), num_items, item_counts, item_vectors)
    tally = _Tally(
        answered={
            metric: torch.zeros(num_items + 1, dtype=torch.bool) for metric in plan.metrics if metric.name == "coverage"
        }
    )
    for batch in batches:
        _ask(shortlist, batch, plan, tally)
    if not tally.columns:
        raise DataError(
            f"There is nothing to evaluate: none of the {tally.num_skipped} requests has a target. Check the split."
        )
    columns = {name: torch.cat(parts).numpy() for name, parts in tally.columns.items()}
    parts = by_part(columns, metrics=plan.metrics, segments=tuple(plan.segments), history=columns["history"])
    found = estimates(parts, seed=seed, resamples=bootstrap)
    overall = {estimate.metric: estimate for estimate in found["all", "all"]}
    for metric, shown in tally.answered.items():
        overall[str(metric)] = Estimate(str(metric), int(shown[1:].sum()) / num_items)
    num_users = len(columns["user"])
    return Report(
        metrics=tuple(overall[str(metric)] for metric in plan.metrics),
        num_users=num_users,
        protocol=describe(tally.protocols, num_items),
        segments=segment_table(parts, found),
        stages=stage_table(columns),
        stage_ndcg=f"ndcg@{plan.k}",
        notes=_notes(plan, tally),
        seconds=time.perf_counter() - started,
        ms_per_request=1000 * tally.answering_s / num_users,
        per_user=parts["all", "all"],
        users=columns["user"],
        target_keys=columns["key"],
    )


def _plan(
    metrics: tuple[Metric, ...], num_items: int, item_counts: Tensor | None, item_vectors: Tensor | None
) -> _Plan:
    names = {metric.name for metric in metrics}
    for name, values, argument in (
        ("novelty", item_counts, "item_counts"),
        ("diversity", item_vectors, "item_vectors"),
    ):
        if name in names and values is None:
            raise SettingsError(f"{name} needs {argument}, which was not given. Give it, or leave {name} out.")
        if values is not None and len(values) != num_items + 1:
            raise DataError(
                f"{argument} has {len(values)} rows; it needs {num_items + 1}, one per item and row 0 for none."
            )
    return _Plan(
        metrics,
        num_items,
        {} if item_counts is None else item_segments(item_counts),
        self_information(item_counts) if item_counts is not None and "novelty" in names else None,
        unit_vectors(item_vectors) if item_vectors is not None and "diversity" in names else None,
    )


def _ask(shortlist: Shortlist, given: EvaluationBatch, plan: _Plan, tally: _Tally) -> None:
    """Answer one batch and add its figures to the tally."""
    _check_targets(given.targets, plan.num_items)
    batch, rows = with_targets(given)
    first = tally.num_requests
    tally.num_requests += len(given.targets)
    tally.num_skipped += len(given.targets) - len(rows)
    if not len(rows):
        return
    targets = distinct(batch.targets)
    tally.num_targets += int((targets != 0).sum())
    tally.num_repeated += int((batch.targets != 0).sum() - (targets != 0).sum())
    tally.num_unreachable += count_unreachable(batch.filter, targets)
    tally.protocols.append(ranked_among(batch.filter, plan.num_items))

    before = time.perf_counter()
    with torch.no_grad():
        stages = _on_cpu(shortlist(batch.requests, k=plan.depth, filter=batch.filter))
    tally.answering_s += time.perf_counter() - before
    _check_answer(stages, len(rows), plan.num_items)
    users = first + rows if batch.requests.user is None else batch.requests.user.long().cpu()
    identity = {"user": users, "key": target_keys(targets), "history": batch.history_size.cpu()}
    for name, values in {**identity, **_measure(plan, stages, targets)}.items():
        tally.columns.setdefault(name, []).append(values)
    for metric, shown in tally.answered.items():
        shown[stages.ranked.items[:, : metric.k]] = True


def _measure(plan: _Plan, stages: Stages, targets: Tensor) -> dict[str, Tensor]:
    """Every figure of every request: ``all/METRIC``, ``SEGMENT/METRIC`` (NaN outside) and ``STAGE/FIGURE``."""
    ranked = ranks(stages.ranked, targets, is_cut=plan.is_cut and stages.ranked.items.shape[1] >= plan.depth)
    num_targets = (targets != 0).sum(1)
    figures: dict[str, Tensor] = {}
    for metric in plan.metrics:
        if metric.is_accuracy:
            figures[f"all/{metric}"] = measure(metric, ranked, num_targets)
        elif metric.name == "novelty" and plan.information is not None:
            figures[f"all/{metric}"] = novelty(stages.ranked.items[:, : metric.k], plan.information)
        elif metric.name == "diversity" and plan.vectors is not None:
            figures[f"all/{metric}"] = diversity(stages.ranked.items[:, : metric.k], plan.vectors)
    for name, which in plan.segments.items():
        inside = which[targets]  # (B, S)
        own, count = ranked.masked_fill(~inside, torch.inf), inside.sum(1)
        for metric in plan.metrics:
            if metric.is_accuracy:
                figures[f"{name}/{metric}"] = measure(metric, own, count)
    return {**figures, **stage_columns(stages, targets, k=plan.k, depth=plan.depth, is_cut=plan.is_cut, ranked=ranked)}


def _notes(plan: _Plan, tally: _Tally) -> tuple[str, ...]:
    notes = []
    if tally.num_skipped:
        notes.append(f"Requests without a target, left out: {tally.num_skipped:,}.")
    if tally.num_repeated:
        notes.append(f"Targets that a request repeats, counted once: {tally.num_repeated:,}.")
    if tally.num_unreachable:
        share = f"{tally.num_unreachable:,} of {tally.num_targets:,}"
        notes.append(f"Targets that the request's filter keeps out, counted as not found: {share}.")
    if plan.k > plan.num_items:
        notes.append(f"The largest cut-off, {plan.k:,}, exceeds the catalogue of {plan.num_items:,} items.")
    return tuple(notes)


def _on_cpu(stages: Stages) -> Stages:
    """The lists as evaluation reads them; a stage that changed nothing stays one object, which spares its figures."""
    ranked = _plain(stages.ranked)
    retrieved = ranked if stages.retrieved is stages.ranked else _plain(stages.retrieved)
    if stages.filtered is stages.retrieved:
        return Stages(retrieved, retrieved, ranked)
    return Stages(retrieved, ranked if stages.filtered is stages.ranked else _plain(stages.filtered), ranked)


def _plain(candidates: Candidates) -> Candidates:
    return Candidates(candidates.items.long().cpu(), candidates.scores.cpu())


def _check_targets(targets: Tensor, num_items: int) -> None:
    if targets.numel() and (int(targets.min()) < 0 or int(targets.max()) > num_items):
        raise DataError(
            f"Targets run from {int(targets.min())} to {int(targets.max())}; items from 1 to {num_items} (0 pads). "
            "Encode them with the vocabulary of the model."
        )


def _check_answer(stages: Stages, num_requests: int, num_items: int) -> None:
    for name in STAGES:
        items = getattr(stages, name).items
        if len(items) != num_requests:
            raise DataError(f"The {name} list has {len(items)} rows for {num_requests} requests. Answer one row each.")
        if items.numel() and (int(items.min()) < 0 or int(items.max()) > num_items):
            raise DataError(
                f"The {name} list holds items from {int(items.min())} to {int(items.max())}; "
                f"items run from 1 to {num_items}. Build it from the same catalogue."
            )
