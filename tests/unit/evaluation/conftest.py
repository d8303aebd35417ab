"""Small worlds with a known answer for the tests of evaluation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from shortlist.contracts import Candidates, EvaluationBatch, Filter, Requests, Stages
from shortlist.evaluation import Shortlist


@pytest.fixture(scope="session")
def by_scores() -> Callable[..., Shortlist]:
    """Make a funnel that scores user ``u`` with row ``u`` of a table (U,I+1), over the best ``candidates`` by it."""

    def by_scores(table: Tensor, *, candidates: int | None = None) -> Shortlist:
        def shortlist(requests: Requests, /, *, k: int, filter: Filter) -> Stages:
            assert requests.user is not None
            found = Candidates.top(table[requests.user].clone(), candidates or k, filter)
            ranked = found if candidates is None else Candidates(found.items[:, :k], found.scores[:, :k])
            return Stages(found, found, ranked)

        return shortlist

    return by_scores


@pytest.fixture(scope="session")
def batch() -> Callable[..., EvaluationBatch]:
    """Make one batch with padded targets."""

    def batch(
        targets: list[list[int]], *, users: list[int] | None = None, filter: Filter | None = None, history: int = 30
    ) -> EvaluationBatch:
        width = max(map(len, targets))
        rows = torch.tensor([[*row, *[0] * (width - len(row))] for row in targets])
        user = torch.arange(len(targets)) if users is None else torch.tensor(users)
        return EvaluationBatch(Requests(user=user), rows, filter or Filter(), torch.full((len(targets),), history))

    return batch
