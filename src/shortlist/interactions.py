"""Events grouped by sequence in time order: flat arrays and offsets, no padding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from shortlist.features import running_total, spans


@dataclass(frozen=True, slots=True)
class Interactions:
    """R sequences of events, row 0 being the unknown user's and empty.

    Row ``r``'s events are ``items[offsets[r]:offsets[r + 1]]``, oldest first; equal times keep the order of the file.
    ``liked`` is None where every event counts as positive. With ``strict`` a history never holds an event of the same
    time as what it should predict (set by splits in time).
    """

    offsets: Tensor  # (R+1,) int64
    items: Tensor  # (E,) int32, dense indices
    num_items: int  # real items: indices run from 1 to num_items
    times: Tensor | None = None  # (E,) int64, seconds since 1970
    ratings: Tensor | None = None  # (E,) float32
    weights: Tensor | None = None  # (E,) float32
    liked: Tensor | None = None  # (E,) bool
    strict: bool = False

    def __len__(self) -> int:
        """Number of events."""
        return len(self.items)

    @property
    def num_rows(self) -> int:
        """Number of sequences, the unknown row 0 included."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Tensor:
        """Events of each row (R,)."""
        return self.offsets[1:] - self.offsets[:-1]

    def rows(self) -> Tensor:
        """The row of every event (E,)."""
        return torch.repeat_interleave(torch.arange(self.num_rows), self.lengths, output_size=len(self))

    def select(self, keep: Tensor) -> Interactions:
        """Only the events where ``keep`` (E,) is true; the rows stay, some perhaps empty."""
        return self._with(running_total(keep.long())[self.offsets], keep)

    def positives(self) -> Interactions:
        """Only the liked events."""
        return self if self.liked is None else self.select(self.liked)

    def take_rows(self, rows: Tensor) -> Interactions:
        """The events of the given rows (B,), in that order, as rows 0 … B-1."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts  # not those of all rows: there may be a million
        return self._with(running_total(lengths), spans(starts, lengths))

    def item_counts(self) -> Tensor:
        """How often each item occurs (num_items+1,), index 0 being 0."""
        return torch.bincount(self.items.long(), minlength=self.num_items + 1)

    def windows(self, rows: Tensor, stops: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """The last ``width`` events of ``rows`` (B,) before the positions ``stops`` (B,).

        Returns ``history`` (B,T) int64, oldest first and right-padded with 0, ``length`` (B,) and the events' times
        (B,T) or None, where T is the longest history found, at most ``width``.
        """
        length = torch.clamp(stops - self.offsets[rows], min=0, max=width)  # (B,)
        steps = torch.arange(int(length.max()) if len(length) else 0)  # (T,)
        inside = steps < length[:, None]  # (B, T)
        positions = torch.where(inside, (stops - length)[:, None] + steps, 0)
        if not len(self):
            empty = torch.zeros(len(rows), 0, dtype=torch.int64)
            return empty, length, None if self.times is None else empty
        history = torch.where(inside, self.items[positions].long(), 0)
        times = None if self.times is None else torch.where(inside, self.times[positions], 0)
        return history, length, times

    def history_stops(self) -> Tensor:
        """For every event (E,) the position where its history ends: its own, or with ``strict`` its time's first."""
        own = torch.arange(len(self))
        if not self.strict or self.times is None or len(self) == 0:
            return own
        rows = self.rows()
        starts_group = torch.ones(len(self), dtype=torch.bool)
        starts_group[1:] = (self.times[1:] != self.times[:-1]) | (rows[1:] != rows[:-1])
        return torch.cummax(torch.where(starts_group, own, 0), 0).values

    def _with(self, offsets: Tensor, chosen: Tensor) -> Interactions:
        def pick(column: Tensor | None) -> Tensor | None:
            return None if column is None else column[chosen]

        return Interactions(
            offsets,
            self.items[chosen],
            self.num_items,
            pick(self.times),
            pick(self.ratings),
            pick(self.weights),
            pick(self.liked),
            self.strict,
        )
