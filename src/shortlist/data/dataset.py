"""Encoded events of one data set, with the features and the encoders that made it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import torch
from torch import Tensor

from shortlist.contracts import AnyFeatures, Catalogue, Features, Interactions
from shortlist.data.encode import Encoders
from shortlist.data.item_table import ItemTable
from shortlist.features import running_total
from shortlist.schema import Schema

ROLES = (
    "user_id",
    "item_id",
    "timestamp",
    "rating",
    "weight",
    "label",
    "event_type",
    "session_id",
    "title",
    "positive",
)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Events grouped by sequence in time order; row ``r`` of ``events`` is the sequence with index ``r``.

    A part of a split carries what came before it: of row ``r``, the events from ``target_start[r]`` on are the part's
    own (to learn from or to predict), the earlier ones are only known history. Nothing later is in it.
    """

    schema: Schema
    encoders: Encoders
    events: Interactions
    target_start: Tensor  # (R,) positions in events
    user_features: Features | None = None  # num_users+1 rows
    item_features: AnyFeatures | None = None  # num_items+1 rows
    context: Features | None = None  # a row for each event
    notes: tuple[str, ...] = ()  # what was dropped, merged or guessed on the way, with counts
    item_table: ItemTable | None = None  # the items' raw columns, which can be asked for: I rows, from index 1
    unknown_targets: Tensor | None = None  # (R,) liked items of the part's own that no vocabulary has, so are no events

    def positives(self) -> Dataset:
        """The same with the liked events only."""
        liked = self.events.liked
        if liked is None:
            return self
        moved = running_total(liked.long())  # (E+1,) where each event stands among the liked
        context = None if self.context is None else self.context.take(liked.nonzero().squeeze(1))
        return replace(self, events=self.events.select(liked), target_start=moved[self.target_start], context=context)

    @property
    def num_users(self) -> int:
        """Sequences it knows (users, or sessions), the unknown one not counted; some may have no events."""
        return len(self.encoders.users)

    @property
    def num_items(self) -> int:
        """Items it knows, the unknown one not counted; some may have no events."""
        return len(self.encoders.items)

    def catalogue(self) -> Catalogue:
        """What a network must know to be built for this data."""
        return Catalogue(
            self.num_users,
            self.num_items,
            self.item_features,
            None if self.user_features is None else self.user_features.layout,
            None if self.context is None else self.context.layout,
            events=len(self.events),
            crosses=self._crosses(),
        )

    def _crosses(self) -> tuple[tuple[tuple[str, int], ...], ...]:
        places = {name: (owner, field) for name, owner, field in reversed(self.schema.crossable())}
        return tuple(tuple(places[column] for column in columns) for columns in self.schema.cross)

    def own(self) -> Tensor:
        """Which events (E,) are the part's own, not known history."""
        return torch.arange(len(self.events)) >= self.target_start[self.events.rows()]

    def known(self) -> Interactions:
        """The events before the part's own."""
        return self.events.select(~self.own())

    def targets(self) -> Interactions:
        """The part's own events."""
        return self.events.select(self.own())

    def before(self) -> Dataset:
        """The known history as a data set of its own: what may be learnt from before this part."""
        return self._only(~self.own())

    def without_rows(self, rows: Tensor) -> Dataset:
        """The same without the events of the rows where ``rows`` (R,) is true, all that is left being the part's own."""
        return self._only(~rows[self.events.rows()])

    def _only(self, kept: Tensor) -> Dataset:
        events = self.events.select(kept)
        context = None if self.context is None else self.context.take(kept.nonzero().squeeze(1))
        return replace(self, events=events, target_start=events.offsets[:-1], context=context, unknown_targets=None)

    def describe(self) -> str:
        """Sizes, dates, the meaning of the columns, and every note, in a few lines."""
        events, schema = self.events, self.schema
        sequences = "users" if schema.sequence == "user" else "sessions"
        active = int((events.lengths > 0).sum())
        size = f"events   {len(events):,} by {active:,} of {self.num_users:,} {sequences}"
        size += f" on {int((events.item_counts() > 0).sum()):,} of {self.num_items:,} items"
        if schema.is_tabular:
            size = f"rows     {len(events):,}"
            if events.liked is not None:
                size += f", {float(events.liked.float().mean()):.1%} labelled 1"
        if events.times is not None and len(events):
            size += f", {_day(events.times.min())} to {_day(events.times.max())}"
        known = ((role, getattr(schema, role)) for role in ROLES)
        lines = [size, "schema   " + ", ".join(f"{role} = {column}" for role, column in known if column is not None)]
        if events.times is None:
            lines[0] += ", no timestamps"
        if schema.features:
            lines.append(
                "features "
                + ", ".join(f"{feature.owner}.{feature.name} ({feature.kind})" for feature in schema.features)
            )
        if schema.cross:
            lines.append("crosses  " + ", ".join(" x ".join(columns) for columns in schema.cross))
        return "\n".join([*lines, *(f"note     {note}" for note in self.notes)])


def _day(seconds: Tensor) -> str:
    return datetime.fromtimestamp(int(seconds), tz=UTC).date().isoformat()
