"""Sequences to training batches: stretches of like length side by side, with a target after each of their steps.

It knows no model. An epoch has about equally many events in each batch, whatever the lengths.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from shortlist.contracts import Examples, Requests, Sampling
from shortlist.data.batches import mix
from shortlist.data.dataset import Dataset
from shortlist.data.sample import Positives, SharedSample, draw_negatives
from shortlist.features import running_total
from shortlist.pools import Pools

BATCHES_A_CHUNK = 16  # where sequences come in order, so many batches' worth are shuffled among each other
TARGETS_A_GROUP = 448  # so many targets, more or less, are negatives of each other: the work grows with it
STEPS_AN_OCTAVE = 8  # shapes are rounded up by at most an eighth, so that few different ones occur


class SequenceBatches:
    """Stretches of up to ``sampling.history`` liked events, each event predicting the next.

    ``batch_size`` is how many sequences a batch has on average: batches are cut where they have equally many events, and
    hold sequences of about one length, so that there is little padding (or with ``mixed_lengths`` of all lengths). With ``windows="last"`` a longer sequence is cut
    to its last events, as SASRec's authors do; with ``"all"`` it gives several stretches, cut at other places in each
    epoch. Where the data is ``strict`` a target is predicted from the last event of an earlier time; of a long sequence
    those targets are left out whose time began before their stretch.

    Lengths and numbers of rows are rounded up to few different shapes (rows that are added are empty), because libraries
    prepare a matrix product anew for each shape, which takes longer than the product.

    Sequences are shuffled, or with ``shuffled=False`` come in the order of their last events (without times, in that of
    their ids), but for a shuffle among some neighbouring batches.

    Everything depends on (seed, epoch, step) alone: see :class:`~shortlist.contracts.Batches`.
    """

    def __init__(self, dataset: Dataset, sampling: Sampling, *, batch_size: int, seed: int) -> None:
        self.dataset, self.sampling, self.batch_size, self.seed = dataset.positives(), sampling, batch_size, seed
        self.events = self.dataset.events
        self._known_until = self.events.history_stops()  # (E,) where each event's own history ends
        self._find_targets()
        events = self.events
        chosen = events.items[self._wanted].long()
        self._num_targets = len(chosen)
        windows = -(-(self._ends - self._first) // sampling.history)
        self._num_steps = -(-int(windows.sum()) // batch_size)
        self._positives = Positives(events) if sampling.negatives and sampling.avoid_positives else None
        self._shared = None
        if sampling.shared_negatives:
            counts = torch.bincount(chosen, minlength=events.num_items + 1)
            targets_a_batch = self._num_targets / max(self._num_steps, 1)
            self._num_groups = max(round(targets_a_batch / TARGETS_A_GROUP), 1)
            self._shared = SharedSample(counts, sampling, targets_a_group=targets_a_batch / self._num_groups)
        self._epoch: tuple[int, Tensor, Tensor, Tensor, Tensor] | None = None

    def _find_targets(self) -> None:
        """Which events are to be predicted, and of each row that has some the span that they lie in."""
        events = self.events
        rows, begins, ends = events.rows(), events.offsets[:-1], events.offsets[1:]
        first = torch.maximum(self.dataset.target_start, begins + 1)  # the first event that has one before it
        if self.sampling.windows == "last":
            first = torch.maximum(first, ends - self.sampling.history)
        place = torch.arange(len(events))
        self._wanted = (place >= first[rows]) & (self._known_until > begins[rows])  # (E,)
        self._rows = (torch.bincount(rows[self._wanted], minlength=len(begins)) > 0).nonzero().squeeze(1)  # (R,)
        self._begins, self._first, self._ends = begins[self._rows], first[self._rows], ends[self._rows]

    @property
    def num_examples(self) -> int:
        """Events to predict."""
        return self._num_targets

    @property
    def num_steps(self) -> int:
        """Batches of one epoch."""
        return self._num_steps

    def get(self, epoch: int, step: int) -> Examples:
        """The examples of one step."""
        rows, starts, lengths, cuts = self._plan(epoch)
        part = slice(int(cuts[step]), int(cuts[step + 1]))
        rows, starts, lengths = rows[part], starts[part], lengths[part]
        events = self.events
        added = _rounded(max(len(rows), 1)) - len(rows)
        rows, starts, lengths = (nn.functional.pad(part, (0, added)) for part in (rows, starts, lengths))
        steps = torch.arange(max(self._widest(int(lengths.max())), 1))
        inside = steps < lengths[:, None]  # (B, T)
        places = torch.where(inside, starts[:, None] + steps, 0)
        history = torch.where(inside, events.items[places].long(), 0)
        following = torch.where(inside, places + 1, 0)
        wanted = inside & self._wanted[following]
        known = None
        if events.strict:
            known = self._known_until[following] - 1 - starts[:, None]  # (B, T)
            wanted &= known >= 0
            known = known.clamp(min=0)
        items = torch.where(wanted, events.items[following].long(), 0)
        times = None if events.times is None else torch.where(inside, events.times[places], 0)
        requests = Requests(rows, history, lengths, times)
        weights = None if events.weights is None else events.weights[following]
        generator = torch.Generator().manual_seed(mix(self.seed, epoch, step))
        examples = Examples(requests, items, weights=weights, step=known)
        if self.sampling.negatives:
            return replace(examples, negatives=self._draw(rows, items, generator))
        return examples if self._shared is None else self._with_sample(examples, self._shared, generator)

    def _with_sample(self, examples: Examples, shared: SharedSample, generator: torch.Generator) -> Examples:
        items, rows, groups = examples.items, len(examples.items), self._num_groups
        targets = items.flatten().nonzero().squeeze(1)
        cuts = [rows * group // groups for group in range(groups + 1)]
        row = targets.div(items.shape[1], rounding_mode="floor")
        group = torch.searchsorted(torch.tensor(cuts), row, right=True) - 1
        sample = shared.draw(items.flatten()[targets], generator=generator, group=group, num_groups=groups)
        column = None
        if sample.columns is not None:
            column = torch.zeros(items.numel(), dtype=torch.int64)
            column[targets] = sample.columns
            column = column.view(items.shape)
        return replace(
            examples,
            negatives=sample.items,
            negatives_log_prob=sample.log_prob,
            target_column=column,
            pools=Pools(tuple(cuts), sample.own),
        )

    def _draw(self, rows: Tensor, items: Tensor, generator: torch.Generator) -> Tensor:
        """Negatives (B, T, N) of every target."""
        num, size = self.sampling.negatives, items.numel()
        if self._positives is None:
            drawn = torch.randint(1, self.events.num_items + 1, (size, num), generator=generator)
        else:
            drawn = draw_negatives(self._positives, rows.repeat_interleave(items.shape[1]), num, generator=generator)
        return drawn.view(*items.shape, num)

    def _plan(self, epoch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The epoch's stretches in order: their rows (W,), first inputs (W,), lengths (W,), and where batches begin."""
        if self._epoch is None or self._epoch[0] != epoch:
            generator = torch.Generator().manual_seed(mix(self.seed, epoch, -1))
            width, total = self.sampling.history, self._ends - self._first
            last = self._ends.clone()  # where the first of a row's stretches, seen from its end, stops
            is_long = total > width
            shift = (torch.rand(len(total), generator=generator) * width).long()
            last = torch.where(is_long, last - shift, last)
            # Stretches of `width` targets from `last` backwards, and one for the targets that the shift left behind it.
            num = -(-(last - self._first) // width)
            row = torch.repeat_interleave(torch.arange(len(num)), num)
            place = torch.arange(len(row)) - running_total(num)[row]
            stops = last[row] - place * width
            starts = torch.maximum(stops - width, self._first[row])
            behind = (is_long & (shift > 0)).nonzero().squeeze(1)
            row = torch.cat((row, behind))
            starts, stops = torch.cat((starts, last[behind])), torch.cat((stops, self._ends[behind]))
            # Targets [starts, stops) are predicted from the inputs one place earlier, a row's first ones also from what
            # is known before the part's own events and still fits.
            before = torch.maximum(self._begins[row], stops - 1 - width)
            known = torch.maximum(before, self._known_until[starts] - 1)  # where the first target's own history ends
            inputs = torch.where(starts == self._first[row], torch.minimum(starts - 1, before), known)
            useful = self._known_until[stops - 1] > inputs  # not all of one time that began earlier
            row, inputs, stops = row[useful], inputs[useful], stops[useful]
            lengths = stops - 1 - inputs
            self._epoch = (epoch, *self._batched(self._rows[row], inputs, lengths, generator))
        return self._epoch[1:]

    def _batched(
        self, rows: Tensor, starts: Tensor, lengths: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        width, chunk = self._width(lengths), self._chunks(rows, lengths)
        by_width = width + torch.rand(len(lengths), generator=generator)
        order = torch.argsort(chunk * (self.sampling.history + 2) + by_width)
        filled, turn = width[order].cumsum(0), torch.arange(len(order))
        batch = ((filled - 1) * self._num_steps).div(filled[-1], rounding_mode="floor")  # (W,) of each stretch
        batch = (torch.minimum(batch, turn) - turn).cummin(0).values + turn  # no batch is left out,
        batch = torch.maximum(batch, self._num_steps - len(order) + turn)  # not even the last ones
        begin = torch.searchsorted(batch, torch.arange(self._num_steps))  # (steps,) the first stretch of each batch
        place = torch.argsort(torch.argsort(chunk[order[begin]] + torch.rand(self._num_steps, generator=generator)))
        order = order[torch.argsort(place[batch], stable=True)]
        cuts = running_total(torch.bincount(place[batch], minlength=self._num_steps))
        return rows[order], starts[order], lengths[order], cuts

    def _chunks(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """The number (W,) of the chunk that each stretch is shuffled in: one for all, or some for stretches in order."""
        if self.sampling.shuffled:
            return torch.zeros_like(rows)
        events = self.events
        last = rows if events.times is None else events.times[events.offsets[rows + 1] - 1]
        order = torch.argsort(last, stable=True)
        filled = lengths[order].cumsum(0)
        chunk = torch.zeros_like(rows)
        chunk[order] = (filled - 1) * self._num_steps // (filled[-1] * BATCHES_A_CHUNK)
        return chunk

    def _widest(self, length: int) -> int:
        """The steps that stretches of up to this length take up in a batch."""
        history = self.sampling.history
        return history if self.sampling.mixed_lengths else min(_rounded(length), history)

    def _width(self, lengths: Tensor) -> Tensor:
        """The steps (W,) that stretches of these lengths take up."""
        widths = [self._widest(length) for length in range(self.sampling.history + 1)]
        return torch.tensor(widths)[lengths]


def _rounded(size: int) -> int:
    """The size rounded up to one of eight steps in each octave.

    >>> [_rounded(size) for size in (0, 3, 16, 17, 33, 200)]
    [0, 3, 16, 18, 36, 208]
    """
    step = max(2 ** (size.bit_length() - 1) // STEPS_AN_OCTAVE, 1) if size else 1
    return -(-size // step) * step
