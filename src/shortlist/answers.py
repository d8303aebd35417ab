"""Encoded answers to frames of ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import polars as pl
import torch
from torch import Tensor

from shortlist.contracts import Candidates, Requests, Stages
from shortlist.data.dataset import Dataset
from shortlist.data.encode import Encoders
from shortlist.query import Query

ServedFrom = Literal["model", "session", "features", "popularity"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to B requests. ``sources`` says what each was served from."""

    query: Query
    stages: Stages
    sources: tuple[ServedFrom, ...]


def served_from(requests: Requests, served: Tensor | None, dataset: Dataset) -> tuple[ServedFrom, ...]:
    """What each of B requests is answered from, of which a source knows enough where ``served`` (B,) says so."""
    assert requests.user is not None
    assert served is not None
    offsets = dataset.events.offsets
    known = (offsets[requests.user + 1] > offsets[requests.user]).tolist()
    past = [False] * len(requests) if requests.length is None else (requests.length > 0).tolist()
    return tuple(
        "popularity" if not ok else "model" if user else "session" if events else "features"
        for ok, user, events in zip(served.tolist(), known, past, strict=True)
    )


def answer_frame(answer: Answer | None, encoders: Encoders) -> pl.DataFrame:
    """The ranked items of all requests, a row each; None is an answer to nobody."""
    ranked = (
        Candidates(torch.zeros(0, 0, dtype=torch.int64), torch.zeros(0, 0)) if answer is None else answer.stages.ranked
    )
    rows, places = (index.tolist() for index in ranked.valid.nonzero(as_tuple=True))
    asked = () if answer is None else answer.query.user_ids
    sources = () if answer is None else answer.sources
    numbers = encoders.users.is_integer and all(
        user is None or str(user).removeprefix("-").isdecimal() for user in asked
    )
    users = [None if user is None else int(user) if numbers else str(user) for user in asked]
    return pl.DataFrame(
        [
            pl.Series("user_id", [users[row] for row in rows], dtype=pl.Int64 if numbers else pl.String),
            *items_frame(ranked, encoders).get_columns(),
            pl.Series("rank", [place + 1 for place in places], dtype=pl.Int64),
            pl.Series("source", [sources[row] for row in rows], dtype=pl.String),
        ]
    )


def items_frame(candidates: Candidates, encoders: Encoders) -> pl.DataFrame:
    """The ids and scores of all slots that hold an item."""
    valid = candidates.valid
    ids = encoders.items.decode(candidates.items[valid].numpy())
    kind = pl.Int64 if encoders.items.is_integer else pl.String
    return pl.DataFrame(
        [pl.Series("item_id", ids.tolist(), dtype=kind), pl.Series("score", candidates.scores[valid].numpy())]
    )
