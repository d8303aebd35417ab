"""A few letters to the items, or the users, whose title or id has them, the busiest first."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
import torch
from torch import Tensor

if TYPE_CHECKING:
    from shortlist.recommender import Recommender

AT_ONCE = 65_536  # texts


@dataclass(frozen=True, slots=True)
class Findable:
    """Texts in the order in which they are found, and whose they are.

    A million texts of 40 letters take some 55 MB and are looked through in 20 ms; a search ends as soon as it has enough.
    """

    texts: pl.Series  # (N,) lower case
    positions: Tensor  # (N,) int32

    @classmethod
    def of(cls, parts: Sequence[Sequence[Any]], weights: Tensor, offered: Tensor | None = None) -> Findable:
        """To be found by any of the ``parts``, each M texts or ids, those of most weight (M,) first.

        None among them is no text. What is not ``offered`` (M,) is never found.
        """
        order = torch.argsort(weights, descending=True, stable=True)
        if offered is not None:
            order = order[offered[order]]
        # In their order before they are joined, which writes them anew one after the other: read so, they are found soonest.
        columns = [pl.Series(f"{number}", list(part))[order.numpy()] for number, part in enumerate(parts)]
        text = pl.concat_str(*(column.cast(pl.String) for column in columns), separator=" ", ignore_nulls=True)
        return cls(pl.select(text.str.to_lowercase()).to_series(), order.int())

    def find(self, text: str, limit: int) -> list[int]:
        """At most ``limit`` positions, in M, of texts that contain ``text`` in any case."""
        wanted = pl.Series([text.strip()]).str.to_lowercase()[0]
        found = list(range(min(limit, len(self.texts)))) if not wanted else []
        for start in range(0, len(self.texts) if wanted else 0, AT_ONCE):
            places = self.texts.slice(start, AT_ONCE).str.contains(wanted, literal=True).arg_true()
            found += (places.head(limit - len(found)) + start).to_list()
            if len(found) == limit:
                break
        chosen: list[int] = self.positions[found].tolist()
        return chosen


class Finder:
    """What can be found of a recommender, made when it is first asked and again when its items or events are others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: tuple[tuple[object, ...], Findable] | None = None
        self._users: tuple[tuple[object, ...], Findable] | None = None

    def items(self, recommender: Recommender, text: str, *, limit: int) -> list[int]:
        """Indices of items that may be answered, by title or id: those with most stored events first."""
        encoders, events = recommender.dataset.encoders, recommender.dataset.events
        offered = recommender.funnel.offered
        made_of = (encoders.items, encoders.titles, events, offered)
        with self._lock:
            if self._items is None or not _same(self._items[0], made_of):
                titles = [] if encoders.titles is None else [encoders.titles]
                own = None if offered is None else offered[1:]
                known = Findable.of([*titles, encoders.items.ids.tolist()], events.item_counts()[1:], own)
                self._items = (made_of, known)
            findable = self._items[1]
        return [position + 1 for position in findable.find(text, limit)]

    def users(self, recommender: Recommender, text: str, *, limit: int) -> list[int]:
        """Indices of users who have stored events, by id: those with most events first."""
        users, events = recommender.dataset.encoders.users, recommender.dataset.events
        made_of = (users, events)
        with self._lock:
            if self._users is None or not _same(self._users[0], made_of):
                lengths = events.lengths[1:]
                self._users = (made_of, Findable.of([users.ids.tolist()], lengths, lengths > 0))
            findable = self._users[1]
        return [position + 1 for position in findable.find(text, limit)]


def _same(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    return all(mine is theirs for mine, theirs in zip(one, other, strict=True))
