"""What was measured of every request, batch by batch, to the report on all of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shortlist.evaluation.metrics import Metric
from shortlist.evaluation.protocol import describe
from shortlist.evaluation.report import Estimate, Report, Stage
from shortlist.evaluation.stages import Steps, lost_columns
from shortlist.evaluation.summary import (
    Part,
    by_part,
    estimates,
    segment_table,
    stage_meanings,
    stage_table,
    stages_by_part,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure of every answer."""

    metrics: tuple[Metric, ...]
    num_items: int
    segments: Mapping[str, Tensor]  # which items (I+1,) belong to it
    information: Tensor | None  # (I+1,) bits
    vectors: Tensor | None  # (I+1, D) of length 1
    steps: Steps

    @property
    def k(self) -> int:
        """The largest cut-off."""
        return max(metric.k for metric in self.metrics)

    @property
    def depth(self) -> int:
        """Slots to ask for. A tie that fills more than 2k slots has its mean rank behind k: more would change nothing."""
        return min(2 * self.k + 1, self.num_items)

    @property
    def is_cut(self) -> bool:
        """Whether such a list leaves items out."""
        return self.depth < self.num_items


@dataclass(slots=True)
class Tally:
    """What is collected batch by batch."""

    columns: dict[str, list[Tensor]] = field(default_factory=dict)  # a row per request
    stages: dict[str, list[Tensor]] = field(default_factory=dict)  # a row per request
    lost: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # of others: targets outside the catalogue, history
    seconds: dict[str, float] = field(default_factory=dict)  # by step
    width: int = 0  # C, slots of a list of candidates
    num_unknown: int = 0
    answered: dict[Metric, Tensor] = field(default_factory=dict)  # coverage's metrics: (I+1,) which items were shown
    protocols: list[tuple[str, int, int]] = field(default_factory=list)
    num_requests: int = 0
    num_skipped: int = 0
    num_targets: int = 0
    num_repeated: int = 0
    num_unreachable: int = 0
    answering_s: float = 0.0


def conclude(plan: Plan, tally: Tally, *, started: float, seed: int, resamples: int) -> Report:
    """The report on all that was collected since ``started`` (of ``time.perf_counter``)."""
    columns = {name: torch.cat(parts).numpy() for name, parts in tally.columns.items()}
    parts = by_part(columns, metrics=plan.metrics, segments=tuple(plan.segments), history=columns["history"])
    num_users = len(columns["user"])
    stage_parts = _stage_parts(tally)
    bootstrapped = {
        part: dict(parts.get(part, {}))
        | {name: values for name, values in figures.items() if name.endswith(("/recall", "/ndcg"))}
        for part, figures in stage_parts.items()
    }
    found = estimates(bootstrapped, seed=seed, resamples=resamples)
    overall = {str(metric): found["all", "all"][str(metric)] for metric in plan.metrics if metric.name != "coverage"}
    for metric, shown in tally.answered.items():
        overall[str(metric)] = Estimate(str(metric), int(shown[1:].sum()) / plan.num_items)
    per_step = {step: 1000 * seconds / num_users for step, seconds in tally.seconds.items()}
    is_reranked = any(name.endswith("/ranked/recall") for name in tally.stages)
    candidates = tally.width if is_reranked else plan.k
    meanings = stage_meanings(k=plan.k, candidates=candidates, is_reranked=is_reranked, is_exact=plan.steps.is_exact)
    stages: dict[Part, tuple[Stage, ...]] = {
        part: stage_table(
            figures,
            found[part],
            meanings=meanings,
            k=plan.k,
            candidates=candidates,
            ms=per_step if part == ("all", "all") else {},
        )
        for part, figures in stage_parts.items()
    }
    return Report(
        metrics=tuple(overall[str(metric)] for metric in plan.metrics),
        num_users=num_users,
        protocol=describe(tally.protocols, plan.num_items),
        segments=segment_table(parts, found, stages),
        stages=stages["all", "all"],
        stage_notes=_stage_notes(plan, tally, is_reranked),
        ms_per_step=per_step,
        notes=_notes(plan, tally),
        seconds=time.perf_counter() - started,
        ms_per_request=1000 * tally.answering_s / num_users,
        per_user=parts["all", "all"],
        per_stage={
            name: values[:num_users]
            for name, values in stage_parts["all", "all"].items()
            if name.endswith(("/recall", "/ndcg"))
        },
        users=columns["user"],
        target_keys=columns["key"],
    )


def _stage_parts(tally: Tally) -> dict[Part, dict[str, npt.NDArray[np.float64]]]:
    """The stages' figures per request, those last of whose held-out items none is in the catalogue."""
    columns = {name: torch.cat(parts) for name, parts in tally.stages.items()}
    history = torch.cat(tally.columns["history"])
    if tally.lost:
        counts, known = (torch.cat(parts) for parts in zip(*tally.lost, strict=True))
        lost = lost_columns(columns, counts)
        columns = {name: torch.cat((values, lost[name])) for name, values in columns.items()}
        history = torch.cat((history, known))
    return stages_by_part({name: values.numpy() for name, values in columns.items()}, history=history.numpy())


def _notes(plan: Plan, tally: Tally) -> tuple[str, ...]:
    notes = []
    if tally.num_skipped:
        notes.append(f"Requests without a target, left out: {tally.num_skipped:,}.")
    if tally.num_repeated:
        notes.append(f"Targets that a request repeats, counted once: {tally.num_repeated:,}.")
    if tally.num_unreachable:
        share = f"{tally.num_unreachable:,} of {tally.num_targets:,}"
        notes.append(f"Targets that the request's filter keeps out, counted as not found: {share}.")
    if tally.num_unknown:
        notes.append(
            f"Held-out items that are not in the catalogue: {tally.num_unknown:,}. The metrics leave them out; the stages "
            "count them as lost."
        )
    if plan.k > plan.num_items:
        notes.append(f"The largest cut-off, {plan.k:,}, exceeds the catalogue of {plan.num_items:,} items.")
    return tuple(notes)


def _stage_notes(plan: Plan, tally: Tally, is_reranked: bool) -> tuple[str, ...]:
    notes = []
    if plan.steps.is_exact:
        notes.append("The search scores every item: nothing is lost to an approximate index.")
    elif plan.steps.exact is None:
        notes.append("No exact search was run beside the index, so the loss to it is not told apart.")
    if not is_reranked:
        notes.append("There is no re-ranking: the best candidates are the answer.")
    elif not any("/unranked/" in name for name in tally.stages):
        notes.append("The candidates have no order before re-ranking.")
    return tuple(notes)
