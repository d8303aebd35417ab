"""Answered requests to a few users to look at: what they took before, what they were shown, and what became of what they took."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from shortlist.contracts import Candidates, EvaluationBatch, Stages
from shortlist.data.dataset import Dataset
from shortlist.diagnosing.items import titles
from shortlist.evaluation.diagnosis import Example, Listed
from shortlist.evaluation.protocol import reachable
from shortlist.evaluation.segments import user_segments
from shortlist.funnel import Funnel

PER_SEGMENT = 2
MOST_SHOWN = 6  # items of a history, and of what was held out


def examples(
    funnel: Funnel,
    test: Dataset,
    batches: Sequence[EvaluationBatch],
    answers: Sequence[Stages],
    *,
    k: int,
    seed: int,
) -> tuple[Example, ...]:
    """Two users of each segment that has some, drawn at random; ``answers`` hold all candidates in their final order."""
    generator = torch.Generator().manual_seed(seed)
    left = dict.fromkeys(user_segments(torch.zeros(0)), PER_SEGMENT)
    found: list[tuple[str, Example]] = []
    exact = None if funnel.is_exact else funnel.exact()
    for batch, stages in zip(batches, answers, strict=True):
        order = torch.randperm(len(batch.targets), generator=generator)
        for segment, which in user_segments(batch.history_size).items():
            for row in order[which[order]][: left[segment]]:
                asked = batch.requests.take(row[None])
                true = (
                    None
                    if exact is None
                    else exact.retrieve(asked, stages.retrieved.items.shape[1], filter=batch.filter.take(row[None]))
                )
                found.append((segment, _example(funnel, test, batch, stages, int(row), segment, true, k)))
                left[segment] -= 1
        if not any(left.values()):
            break
    names = list(left)
    return tuple(example for _, example in sorted(found, key=lambda pair: names.index(pair[0])))


def _example(
    funnel: Funnel,
    test: Dataset,
    batch: EvaluationBatch,
    stages: Stages,
    row: int,
    segment: str,
    true: Candidates | None,
    k: int,
) -> Example:
    users = batch.requests.user
    assert users is not None
    targets = batch.targets[row][batch.targets[row] != 0]
    let_through = reachable(batch.filter.take(torch.tensor([row])), targets[None])[0]
    before, after = (_places(candidates.items[row]) for candidates in (stages.retrieved, stages.ranked))
    wanted = set(targets.tolist())

    def listed(candidates: Candidates, *, moved: bool) -> tuple[Listed, ...]:
        items = candidates.items[row, :k]
        items = items[items != 0]
        return tuple(
            Listed(title, item in wanted, before[item] - place if moved else None)
            for place, (item, title) in enumerate(zip(items.tolist(), titles(test, items), strict=True))
        )

    fates = []
    for item, title, is_open in zip(targets.tolist(), titles(test, targets), let_through.tolist(), strict=True):
        fate = f"not among {stages.retrieved.items.shape[1]:,} candidates"
        if not is_open:
            fate = "kept out by the filter"
        elif item in after and after[item] < k:
            fate = f"found at {after[item] + 1}"
        elif item in after and funnel.ranker is not None:
            fate = f"candidate {before[item] + 1:,}, re-ranked to {after[item] + 1:,}"
        elif true is not None and bool((true.items[0] == item).any()):
            fate = "missed by the index"
        fates.append((title, fate))
    history = _history(test, batch, row)
    return Example(
        user=str(test.encoders.users.decode([int(users[row])])[0]),
        segment=segment,
        history=titles(test, history[:MOST_SHOWN]),
        num_known=int(batch.history_size[row]),
        before=listed(stages.retrieved, moved=False),
        after=None if funnel.ranker is None else listed(stages.ranked, moved=True),
        held_out=tuple(sorted(fates, key=lambda fate: not fate[1].startswith("found"))[:MOST_SHOWN]),
        num_held_out=len(targets),
    )


def _places(items: Tensor) -> dict[int, int]:
    """Where each item of a list (C,) stands, from 0."""
    return {item: place for place, item in enumerate(items.tolist()) if item}


def _history(test: Dataset, batch: EvaluationBatch, row: int) -> Tensor:
    """The known liked items of a request's user, the newest first."""
    carried, lengths = batch.requests.history, batch.requests.length
    if carried is not None and lengths is not None:
        return carried[row, : int(lengths[row])].long().flip(0)
    assert batch.requests.user is not None
    liked, user = test.positives(), int(batch.requests.user[row])
    start, stop = int(liked.events.offsets[user]), int(liked.target_start[user])
    return liked.events.items[start:stop].long().flip(0)
