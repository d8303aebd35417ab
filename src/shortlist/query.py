"""Outside ids and fresh events to encoded requests: what a recommender is asked, in the networks' terms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from shortlist.contracts import Features, Filter, Interactions, Requests
from shortlist.data import read_table
from shortlist.data.batches import make_requests, padded
from shortlist.data.dataset import Dataset
from shortlist.diversity import Cap, Selection, Values
from shortlist.errors import RequestError
from shortlist.features import running_total
from shortlist.vocabulary import Id

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class Query:
    """B encoded requests and what they may be answered with."""

    user_ids: tuple[Id | None, ...]  # as asked; None is an anonymous session
    requests: Requests
    filter: Filter
    unknown_items: tuple[Id, ...]  # ids in events, items or exclude that no vocabulary has

    def __len__(self) -> int:
        return len(self.user_ids)


def encode_query(
    dataset: Dataset,
    *,
    users: Sequence[Id | None] | None,
    events: Any,
    items: Sequence[Id] | None,
    exclude: Sequence[Id] | None,
    allowed: Tensor | None,
    exclude_seen: bool,
    context: Any,
    history: int,
    block: int,
) -> Iterator[Query]:
    """Encode one call, ``block`` requests at a time: stored histories of ``users`` extended by ``events``, and the lists.

    ``items`` are the ids that may be answered, ``allowed`` (I+1,) says the same by index; where both are given, both hold.

    ``events`` is a frame, a file or a list of mappings with the schema's item column and, if it has them, user and time
    columns; without a user column they all belong to the one request there is. Ids that are not known are collected, never
    an error.
    """
    fresh = None if events is None else _Events(dataset, events)
    asked: tuple[Id | None, ...] = tuple(users) if users is not None else () if fresh is None else fresh.user_ids
    if fresh is not None:
        fresh.check_owners(asked)
    features = encode_context(dataset, context, len(asked))
    listed, unknown_listed = _known_items(dataset, items)
    denied, unknown_denied = _known_items(dataset, exclude)
    unknown = tuple(dict.fromkeys([*(() if fresh is None else fresh.unknown_items), *unknown_listed, *unknown_denied]))
    mask = allowed
    if listed is not None:
        mask = torch.zeros(dataset.num_items + 1, dtype=torch.bool)
        mask[listed[0]] = True if allowed is None else allowed[listed[0]]
    for start in range(0, len(asked), block):
        user_ids = asked[start : start + block]
        requests, seen = _histories(dataset, user_ids, fresh, history)
        if features is not None:
            requests = replace(requests, context=features.take(torch.arange(start, start + len(user_ids))))
        lists = [seen] if exclude_seen else []
        if denied is not None:
            lists.append(denied.expand(len(user_ids), -1))
        yield Query(user_ids, requests, Filter(mask, torch.cat(lists, dim=1) if lists else None), unknown)


def encode_selection(diversity: float, caps: Mapping[str, int], values: Callable[[str], Values]) -> Selection:
    """The last step of a call; ``values`` finds those of the items in a column of their table."""
    return Selection(diversity, tuple(Cap(column, most, values(column)) for column, most in caps.items()))


def item_index(dataset: Dataset, item: Id) -> int:
    """The index of an item; one that is not known is a :class:`RequestError`."""
    index = int(dataset.encoders.items.encode([item])[0])
    if index == 0:
        raise RequestError(f"The catalogue has no item {item!r}.")
    return index


def _histories(
    dataset: Dataset, user_ids: tuple[Id | None, ...], fresh: _Events | None, history: int
) -> tuple[Requests, Tensor]:
    """The requests of ``user_ids`` (B,) and all items (B, X) they have met."""
    users = _encode(dataset.encoders.users.encode, user_ids)
    events = dataset.events.take_rows(users)
    if fresh is not None:
        events = _extend(events, fresh, user_ids)
    liked = events.positives()
    requests = make_requests(liked, rows=torch.arange(len(users)), stops=liked.offsets[1:], history=history)
    features = None if dataset.user_features is None else dataset.user_features.take(users)
    return replace(requests, user=users, user_features=features), padded(
        events.items, events.offsets[:-1], events.offsets[1:]
    )


class _Events:
    """The fresh events of a call, encoded."""

    def __init__(self, dataset: Dataset, events: Any) -> None:
        schema = dataset.schema
        frame = _frame(events, "events")
        if schema.item_column not in frame.columns:
            raise RequestError(
                f"events has no column {schema.item_column!r}. Columns found: {', '.join(frame.columns) or 'none'}. "
                f"Each event needs {schema.item_column!r}; {schema.sequence_id!r} and {schema.timestamp!r} are optional."
            )
        item_ids = frame[schema.item_column].to_list()
        indices = _encode(dataset.encoders.items.encode, item_ids)
        known = indices > 0
        self.unknown_items = tuple(
            item for item, is_known in zip(item_ids, known.tolist(), strict=True) if not is_known
        )
        self.items = indices[known]
        owners = frame[schema.sequence_id].to_list() if schema.sequence_id in frame.columns else [None] * len(item_ids)
        self.has_owners = schema.sequence_id in frame.columns
        self.user_ids: tuple[Id | None, ...] = tuple(dict.fromkeys(owners))
        self.owners = [owner for owner, is_known in zip(owners, known.tolist(), strict=True) if is_known]
        self.times: Tensor | None = None
        if schema.timestamp is not None and schema.timestamp in frame.columns:
            values = frame[schema.timestamp].to_list()
            if any(not isinstance(value, int | float) for value in values):
                raise RequestError(f"events.{schema.timestamp} takes seconds since 1970; found {values[0]!r}.")
            self.times = torch.tensor(values, dtype=torch.int64)[known]

    def check_owners(self, asked: tuple[Id | None, ...]) -> None:
        """Events without an owner belong to the one request there is; with several it would be a guess."""
        if self.has_owners:
            return
        if len(asked) != 1:
            raise RequestError(
                f"events has no user column and there are {len(asked)} users: say whose events they are."
            )
        self.owners = [asked[0]] * len(self.owners)


def _extend(stored: Interactions, fresh: _Events, user_ids: tuple[Id | None, ...]) -> Interactions:
    """The stored events of B requests with the fresh ones added: in time order where both have times, else at the end."""
    place = {None if user is None else str(user): position for position, user in enumerate(user_ids)}
    owner = torch.tensor(
        [place.get(None if user is None else str(user), -1) for user in fresh.owners], dtype=torch.int64
    )
    wanted = owner >= 0
    added = int(wanted.sum())
    items = torch.cat((stored.items, fresh.items[wanted].to(stored.items.dtype)))
    row = torch.cat((stored.rows(), owner[wanted]))
    order, times = torch.arange(len(items)), None
    if stored.times is not None:
        newest = stored.times.max() if len(stored) else torch.tensor(0)
        times = torch.cat((stored.times, newest.expand(added) if fresh.times is None else fresh.times[wanted]))
        order = torch.argsort(times, stable=True) if fresh.times is not None else order
    order = order[torch.argsort(row[order], stable=True)]
    return Interactions(
        running_total(torch.bincount(row, minlength=len(user_ids))),
        items[order],
        stored.num_items,
        None if times is None else times[order],
        liked=None if stored.liked is None else torch.cat((stored.liked, torch.ones(added, dtype=torch.bool)))[order],
    )


def encode_context(dataset: Dataset, context: Any, rows: int) -> Features | None:
    """Context features of each request: one mapping for all of them, or a frame with a row for each."""
    import polars as pl

    encoder = dataset.encoders.context
    if context is None:
        return None
    if encoder is None:
        raise RequestError("context was given, and the model was trained without context features. Leave it out.")
    frame = _frame([context] if isinstance(context, Mapping) else context, "context")
    for feature in encoder.features:
        texts = frame.get_column(feature.name, default=None)
        if feature.kind in ("image", "vector") and texts is not None and texts.dtype == pl.String:
            raise RequestError(
                f"context gives {feature.name!r} as text. A request names no files of this machine: give a picture as the bytes of "
                "its file, a vector as a list of numbers."
            )
    encoded = encoder.encode(frame)
    if len(frame) == rows:
        return encoded
    if len(frame) != 1:
        raise RequestError(
            f"context has {len(frame)} rows for {rows} requests. Give one row, or a row for each request."
        )
    return encoded.take(torch.zeros(rows, dtype=torch.int64))


def _known_items(dataset: Dataset, ids: Sequence[Id] | None) -> tuple[Tensor | None, list[Id]]:
    """Indices (1, A) of the known ones, and the ids that are not."""
    if ids is None:
        return None, []
    if isinstance(ids, str | bytes):
        raise RequestError(f"items and exclude take a list of ids; found the text {ids!r}. Put it in a list.")
    listed = list(ids)
    indices = _encode(dataset.encoders.items.encode, listed)
    return indices[indices > 0][None], [
        item for item, index in zip(listed, indices.tolist(), strict=True) if index == 0
    ]


def _frame(value: Any, name: str) -> pl.DataFrame:
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        import polars as pl

        if not all(isinstance(row, Mapping) for row in value):
            raise RequestError(f"{name} takes a frame or a list of mappings, such as [{{'item_id': 'i1'}}].")
        try:
            return pl.DataFrame(list(value))
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
            raise RequestError(
                f"{name} cannot be read as a table: {error}. A column's values are of one kind."
            ) from error
    return read_table(value, name=name).frame


def _encode(encode: Any, ids: Sequence[Any]) -> Tensor:
    return torch.from_numpy(np.asarray(encode(ids))).long()
