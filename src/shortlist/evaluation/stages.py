"""The lists after each step of the funnel to what every step still holds of the held-out items: where quality is lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from shortlist.contracts import Candidates, Filter, Requests, Stages
from shortlist.evaluation.metrics import gains, ideal_gain
from shortlist.evaluation.ranks import found, is_ordered, ranks


class Search(Protocol):
    """A search for candidates: the best ``k`` of B requests, of the items that the filter lets through."""

    def __call__(self, requests: Requests, k: int, /, *, filter: Filter) -> Candidates: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Steps:
    """What a funnel does on the way that its lists do not tell."""

    is_reranked: bool = True  # its last step gives the candidates another order
    is_exact: bool = False  # its search scores every item
    exact: Search | None = None  # the same search with every item scored, to be run beside it; None: not run
    catalogue: Tensor | None = None  # (I+1,) bool: the items that can be answered; None: all


@dataclass(frozen=True, slots=True)
class Held:
    """Which targets (B,S) a stage holds, what their ranks gain (None: its list has no order), and the list's length (B,)."""

    which: Tensor
    gains: Tensor | None = None
    size: Tensor | None = None


def held_by_stage(
    stages: Stages,
    targets: Tensor,
    *,
    steps: Steps,
    let_through: Tensor,
    exact: Candidates | None,
    ranked: Tensor,
    k: int,
    depth: int,
    is_cut: bool,
) -> dict[str, Held]:
    """What each stage holds of ``targets`` (B,S), each of which stands there once; in the order of the stages.

    ``held out`` are all of them, ``catalogue`` those that can be answered, ``allowed`` those that are also ``let_through``
    (B,S) by the filter. Then come the lists: ``exact`` (the answer of ``steps.exact``), ``retrieved``, ``filtered`` where
    the funnel filters after its search, and where it re-ranks the best ``k`` before, ``unranked``, and after, ``ranked``.
    Without re-ranking the candidates are the answer, and count with their first ``k`` slots.

    ``ranked`` (B,S) are the ranks in the final list. A list of ``depth`` slots or more may have been cut if ``is_cut``
    says that there are more items.
    """
    known = targets != 0
    if steps.catalogue is not None:
        known = known & steps.catalogue[targets]
    stood = {"held out": Held(targets != 0), "catalogue": Held(known), "allowed": Held(known & let_through)}

    def held(answered: Candidates, own: Tensor | None, width: int | None) -> Held:
        shown = answered if width is None else _first(answered, width)
        gained = None if own is None else gains(own, k=k)
        return Held(found(shown.items, targets), gained, shown.valid.sum(1).double())

    def own_ranks(answered: Candidates) -> Tensor | None:
        if answered is stages.ranked:
            return ranked
        if not is_ordered(answered):
            return None
        return ranks(answered, targets, is_cut=is_cut and answered.items.shape[1] >= depth)

    is_reranked = steps.is_reranked and stages.ranked is not stages.filtered
    width = None if is_reranked else k
    if exact is not None:
        stood["exact"] = held(exact, own_ranks(exact), width)
    if not is_reranked:
        stood["retrieved"] = held(stages.ranked, ranked, k)
        return stood
    stood["retrieved"] = held(stages.retrieved, own_ranks(stages.retrieved), None)
    if stages.filtered is not stages.retrieved:
        stood["filtered"] = held(stages.filtered, own_ranks(stages.filtered), None)
    candidates = stood.get("filtered", stood["retrieved"])
    if candidates.gains is not None:  # the first of a list without order are no better than the others
        before = _first(stages.filtered, k)
        stood["unranked"] = Held(found(before.items, targets), candidates.gains, before.valid.sum(1).double())
    stood["ranked"] = held(stages.ranked, ranked, k)
    return stood


def stage_columns(
    stood: Mapping[str, Held],
    targets: Tensor,
    *,
    k: int,
    unknown: Tensor | None = None,
    segments: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Per request, stage and part of the targets: how many it holds, which share (recall), and NDCG@k.

    ``unknown`` (B,) counts held-out items that are not in the catalogue and so in no list; ``segments`` are parts of the
    items, each (I+1,) bool. Keys are ``"PART/STAGE/FIGURE"``, values (B,) float64: NaN for the recall and NDCG of a
    request without a target in the part.
    """
    outside = torch.zeros(len(targets), dtype=torch.int64) if unknown is None else unknown
    insides = {"all": targets != 0} | {name: which[targets] for name, which in (segments or {}).items()}
    columns: dict[str, Tensor] = {}
    for part, inside in insides.items():
        count = inside.sum(1)  # (B,)
        if part in ("all", "cold"):  # what is not in the catalogue has had no event either
            count = count + outside
        none, ideal = count == 0, ideal_gain(k, count)
        for stage, held in stood.items():
            here = (held.which & inside).sum(1)
            if stage == "held out":
                here = count
            columns[f"{part}/{stage}/targets"] = here.double()
            columns[f"{part}/{stage}/recall"] = (here / count.double()).masked_fill(none, torch.nan)
            if held.gains is not None:
                ndcg = (held.gains * inside).sum(1) / ideal
                columns[f"{part}/{stage}/ndcg"] = ndcg.masked_fill(none, torch.nan)
    sizes = {stage: held.size for stage, held in stood.items() if held.size is not None}
    return columns | {f"{part}/{stage}/size": size for part in insides for stage, size in sizes.items()}


def lost_columns(columns: Mapping[str, Tensor], unknown: Tensor) -> dict[str, Tensor]:
    """The columns of requests (B,) all of whose ``unknown`` held-out items are outside of the catalogue: nothing is found."""
    lost: dict[str, Tensor] = {}
    for name in columns:
        part, stage, figure = name.split("/")
        has_any = part in ("all", "cold")
        value = torch.zeros(len(unknown), dtype=torch.float64)
        if figure == "size" or (figure != "targets" and not has_any):
            value = torch.full_like(value, torch.nan)
        elif has_any and stage == "held out":
            value = unknown.double() if figure == "targets" else torch.ones_like(value)
        lost[name] = value
    return lost


def _first(answered: Candidates, width: int) -> Candidates:
    return Candidates(answered.items[:, :width], answered.scores[:, :width])
