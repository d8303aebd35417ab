"""A model to requests that look like its own: to write graphs by, and to compare what they compute."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from shortlist.contracts import Candidates, FeatureLayout, Features, Requests
from shortlist.model import Model


def made_up(model: Model, num: int, *, steps: int, candidates: int) -> tuple[Requests, Candidates]:
    """``num`` requests with at most ``steps`` events, the first with a full history and the last of several with none, and
    candidates of each with evidence; some slots are empty. Always the same.
    """
    dataset, draw = model.dataset, torch.Generator().manual_seed(0)
    steps = min(steps, model.history)
    users = torch.randint(dataset.num_users + 1, (num,), generator=draw)
    length = torch.randint(steps + 1, (num,), generator=draw)
    length[-1], length[0] = 0, steps
    history = torch.randint(1, max(dataset.num_items, 1) + 1, (num, steps), generator=draw)
    history = history.masked_fill(torch.arange(steps) >= length[:, None], 0)
    requests = Requests(
        users,
        history if steps else None,
        length if steps else None,
        user_features=_some(model.catalogue.user_features, dataset.user_features, users),
        context=_some(
            model.catalogue.context,
            dataset.context,
            torch.randint(2**31, (num,), generator=draw) % _rows(dataset.context),
        ),
    )
    items = torch.randint(dataset.num_items + 1, (num, candidates), generator=draw)
    scores = torch.randn(num, candidates, generator=draw).sort(dim=1, descending=True).values
    evidence = torch.randn(num, candidates, model.catalogue.evidence, generator=draw).abs()
    return requests, Candidates(items, scores, evidence if model.catalogue.evidence else None)


def sizes(model: Model) -> Iterator[dict[str, int]]:
    """Requests, steps of history and candidates to compare by: one and several, short and as long as they come."""
    for num, steps, candidates in ((1, 1, 1), (1, model.history, 200), (4, 3, 2), (9, model.history, 20)):
        yield {"num": num, "steps": steps, "candidates": candidates}


def _some(layout: FeatureLayout | None, features: Features | None, rows: torch.Tensor) -> Features | None:
    if layout is None:
        return None
    return Features.unknown(layout, len(rows)) if features is None or not len(features) else features.take(rows)


def _rows(features: Features | None) -> int:
    return max(0 if features is None else len(features), 1)
