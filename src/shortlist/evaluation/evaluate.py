"""A shortlist function and the items that came next to a report: figures with intervals, by segment and by stage.

It does not know which models answer, nor where the requests came from.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from shortlist.contracts import Candidates, EvaluationBatch, Filter, Requests, Stages
from shortlist.errors import DataError, SettingsError
from shortlist.evaluation.answers import check_answer, check_targets, on_cpu, plain_list
from shortlist.evaluation.catalogue import diversity, novelty, self_information, unit_vectors
from shortlist.evaluation.metrics import Metric, measure, parse_all
from shortlist.evaluation.protocol import ranked_among, reachable, target_keys, with_targets
from shortlist.evaluation.ranks import distinct, ranks
from shortlist.evaluation.report import Report
from shortlist.evaluation.segments import item_segments
from shortlist.evaluation.stages import Steps, held_by_stage, stage_columns
from shortlist.evaluation.tally import Plan, Tally, conclude

METRICS = ("ndcg@10", "hr@10", "recall@20", "mrr@10", "coverage@10")


class Shortlist(Protocol):
    """What is evaluated: the function that serves, from requests to the list after each step of the funnel."""

    def __call__(self, requests: Requests, /, *, k: int, filter: Filter) -> Stages:
        """Answer B requests with the best ``k`` items each that the filter lets through."""
        ...


def evaluate(
    shortlist: Shortlist,
    batches: Iterable[EvaluationBatch],
    *,
    num_items: int,
    metrics: Sequence[str] = METRICS,
    item_counts: Tensor | None = None,
    item_vectors: Tensor | None = None,
    steps: Steps | None = None,
    seed: int = 0,
    bootstrap: int = 1000,
) -> Report:
    """Ask for a shortlist for every request and compare it with what came next.

    ``batches`` give the requests with their targets (B,S) and filters; ``num_items`` is I, the size of the catalogue.
    ``metrics`` are names with a cut-off, ``"ndcg@10"``. ``item_counts`` (I+1,) are the items' training events, which
    ``novelty`` and the segments of items need; ``item_vectors`` (I+1,D) are what ``diversity`` compares. ``bootstrap``
    is the number of resamples behind the 95 % intervals; 0 leaves them out. ``steps`` say what happens between a request
    and its lists, for the report's ``stages``.

    All items are ranked unless a request's filter allows fewer; a filter that lists the candidates of each request is a
    sampled protocol, and the report says so. Every request weighs the same. Requests without a target are left out and
    counted; targets that the filter keeps out of the answer count as not found. What came next and is unknown to the
    catalogue has no part in the metrics; the stages count it as lost.

    Ties are ranked as :func:`~shortlist.evaluation.ranks.ranks` says. To know a tie's length, lists of 2k+1 slots are
    asked for, k being the largest cut-off: for a single target the figures are those of asking for all items.

    Raises ``SettingsError`` for an unknown metric or one whose data is missing, ``DataError`` for targets or answers
    outside of the catalogue, answers out of order, or no target at all.
    """
    started = time.perf_counter()
    plan = _plan(parse_all(metrics), num_items, item_counts, item_vectors, Steps() if steps is None else steps)
    tally = Tally(
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
    return conclude(plan, tally, started=started, seed=seed, resamples=bootstrap)


def _plan(
    metrics: tuple[Metric, ...], num_items: int, item_counts: Tensor | None, item_vectors: Tensor | None, steps: Steps
) -> Plan:
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
    return Plan(
        metrics,
        num_items,
        {} if item_counts is None else item_segments(item_counts),
        self_information(item_counts) if item_counts is not None and "novelty" in names else None,
        unit_vectors(item_vectors) if item_vectors is not None and "diversity" in names else None,
        steps,
    )


def _ask(shortlist: Shortlist, given: EvaluationBatch, plan: Plan, tally: Tally) -> None:
    """Answer one batch and add its figures to the tally."""
    check_targets(given.targets, plan.num_items)
    batch, rows = with_targets(given)
    first = tally.num_requests
    tally.num_requests += len(given.targets)
    if given.unknown is not None:
        tally.num_unknown += int(given.unknown.sum())
        outside = (given.targets == 0).all(1) & (given.unknown > 0)
        if bool(outside.any()):
            tally.lost.append((given.unknown[outside], given.history_size.cpu()[outside]))
            tally.num_skipped -= int(outside.sum())
    tally.num_skipped += len(given.targets) - len(rows)
    if not len(rows):
        return
    targets = distinct(batch.targets)
    let_through = reachable(batch.filter, targets)
    tally.num_targets += int((targets != 0).sum())
    tally.num_repeated += int((batch.targets != 0).sum() - (targets != 0).sum())
    tally.num_unreachable += int((targets != 0).sum() - let_through.sum())
    tally.protocols.append(ranked_among(batch.filter, plan.num_items))

    before = time.perf_counter()
    with torch.no_grad():
        stages = on_cpu(shortlist(batch.requests, k=plan.depth, filter=batch.filter))
    tally.answering_s += time.perf_counter() - before
    _add(tally.seconds, stages.seconds)
    check_answer(stages, len(rows), plan.num_items)
    users = first + rows if batch.requests.user is None else batch.requests.user.long().cpu()
    identity = {"user": users, "key": target_keys(targets), "history": batch.history_size.cpu()}
    ranked = ranks(stages.ranked, targets, is_cut=plan.is_cut and stages.ranked.items.shape[1] >= plan.depth)
    for name, values in {**identity, **_measure(plan, stages, targets, ranked)}.items():
        tally.columns.setdefault(name, []).append(values)
    tally.width = max(tally.width, stages.retrieved.items.shape[1])
    stood = held_by_stage(
        stages,
        targets,
        steps=plan.steps,
        let_through=let_through,
        exact=_search_exactly(plan.steps, batch, stages.retrieved.items.shape[1], tally),
        ranked=ranked,
        k=plan.k,
        depth=plan.depth,
        is_cut=plan.is_cut,
    )
    per_stage = stage_columns(stood, targets, k=plan.k, unknown=batch.unknown, segments=plan.segments)
    for name, values in per_stage.items():
        tally.stages.setdefault(name, []).append(values)
    for metric, shown in tally.answered.items():
        shown[stages.ranked.items[:, : metric.k]] = True


def _search_exactly(steps: Steps, batch: EvaluationBatch, k: int, tally: Tally) -> Candidates | None:
    """What the funnel's search would find if it scored every item."""
    if steps.exact is None:
        return None
    before = time.perf_counter()
    with torch.no_grad():
        found = plain_list(steps.exact(batch.requests, k, filter=batch.filter))
    _add(tally.seconds, {"exact search": time.perf_counter() - before})
    return found


def _add(seconds: dict[str, float], more: Mapping[str, float]) -> None:
    for step, spent in more.items():
        seconds[step] = seconds.get(step, 0.0) + spent


def _measure(plan: Plan, stages: Stages, targets: Tensor, ranked: Tensor) -> dict[str, Tensor]:
    """Every metric of every request: ``all/METRIC`` and ``SEGMENT/METRIC`` (NaN outside)."""
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
    return figures
