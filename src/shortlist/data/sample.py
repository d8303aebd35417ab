"""Negatives: items drawn uniformly that the user is not known to like, and samples that a whole batch shares."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from shortlist.contracts import Interactions, Sampling
from shortlist.features import spans

SPARE = 3  # draws at once in the place of one that was no negative: to draw again and again takes longer
BITMAP_BYTES = 256 * 2**20  # above this a bitmap of users x items gives way to sorted keys


class Positives:
    """Answers "does this row have this item?" for many pairs at once."""

    def __init__(self, interactions: Interactions) -> None:
        self.interactions = interactions
        self._width = interactions.num_items + 1
        rows, items = interactions.rows(), interactions.items.long()
        self._bitmap: Tensor | None = None
        self._keys: Tensor | None = None
        if interactions.num_rows * self._width <= BITMAP_BYTES:
            self._bitmap = torch.zeros(interactions.num_rows * self._width, dtype=torch.bool)
            self._bitmap[rows * self._width + items] = True
        else:
            self._keys = torch.unique(rows * self._width + items)  # sorted

    def contains(self, rows: Tensor, items: Tensor) -> Tensor:
        """Whether each row (…) has the item beside it (…): bool (…)."""
        wanted = rows * self._width + items
        if self._bitmap is not None:
            return self._bitmap.take(wanted)
        assert self._keys is not None
        place = torch.searchsorted(self._keys, wanted).clamp(max=max(len(self._keys) - 1, 0))
        return self._keys[place] == wanted if len(self._keys) else torch.zeros_like(wanted, dtype=torch.bool)

    def among(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Which of the distinct items in ``columns`` (M,) each of ``rows`` (B,) has: bool (B, M)."""
        if self._bitmap is not None:
            own = self._bitmap.view(-1, self._width).index_select(0, rows).view(torch.uint8)
            return own.gather(1, columns.expand(len(rows), -1)).view(
                torch.bool
            )  # four times as fast as own[:, columns]
        place = torch.full((self._width,), -1, dtype=torch.int64)
        place[columns] = torch.arange(len(columns))
        starts, lengths = self.interactions.offsets[rows], self.interactions.lengths[rows]
        found = place[self.interactions.items[spans(starts, lengths)].long()]
        request = torch.repeat_interleave(torch.arange(len(rows)), lengths)
        has = torch.zeros(len(rows), len(columns), dtype=torch.bool)
        has[request[found >= 0], found[found >= 0]] = True
        return has


def draw_negatives(
    positives: Positives, rows: Tensor, num: int, *, generator: torch.Generator, tries: int = 12
) -> Tensor:
    """``num`` items (B, num) for each row (B,), uniform over the items the row does not have.

    In the place of an item the row has comes the first good one of ``SPARE`` further draws, up to ``tries`` times; a user who
    has nearly everything may keep one.
    """
    num_items = positives.interactions.num_items
    drawn = torch.randint(1, num_items + 1, (len(rows), num), generator=generator)
    flat, row = drawn.view(-1), rows[:, None].expand(-1, num).reshape(-1)
    wrong = positives.contains(row, flat).nonzero().squeeze(1)
    for _ in range(tries):
        if not len(wrong):
            break
        spare = torch.randint(1, num_items + 1, (len(wrong), SPARE), generator=generator)
        good = ~positives.contains(row[wrong, None].expand(-1, SPARE), spare)  # (W, SPARE)
        first = good.view(torch.uint8).argmax(1, keepdim=True)
        flat[wrong] = spare.gather(1, first).squeeze(1)
        wrong = wrong[~good.any(1)]
    return drawn


class Sample(NamedTuple):
    """Items that a batch is compared with."""

    items: Tensor  # (N,)
    log_prob: Tensor  # (N,) the log of each one's chance to be in the sample
    columns: Tensor | None  # (M,) where each target stands in its group's sample; None where targets do not join
    own: tuple[int, ...]  # see Pools


class SharedSample:
    """The distinct items that targets are compared with: some drawn for all, and perhaps the targets of their group."""

    def __init__(self, counts: Tensor, sampling: Sampling, *, targets_a_group: float) -> None:
        """``counts`` (I+1,) are the items' training events, ``targets_a_group`` the usual number of targets."""
        self.num, self.in_batch, self.num_items = sampling.shared_negatives, sampling.in_batch, len(counts) - 1
        weight = counts.double() ** sampling.popularity_power
        weight[0] = 0
        drawn = weight / weight.sum()  # (I+1,) each item's chance to be one draw
        self._ends = None if sampling.popularity_power == 0 else drawn.cumsum(0)
        share = counts.double() / counts.sum().clamp(min=1)
        absent = self.num * torch.log1p(-drawn) if self.num else torch.zeros_like(drawn)
        if self.in_batch:
            absent += targets_a_group * torch.log1p(-share)
        self._log_prob = torch.log(-torch.expm1(absent)).float()  # (I+1,) of being in the sample at all

    def draw(
        self, targets: Tensor, *, generator: torch.Generator, group: Tensor | None = None, num_groups: int = 1
    ) -> Sample:
        """A sample for ``targets`` (M,), of which those of one ``group`` (M,) meet each other; None: all do."""
        if self._ends is None:
            drawn = torch.randint(1, self.num_items + 1, (self.num,), generator=generator)
        else:
            points = torch.rand(self.num, generator=generator, dtype=torch.float64)
            drawn = torch.searchsorted(self._ends, points, right=True).clamp(max=self.num_items)
        drawn = torch.unique(drawn)
        if not self.in_batch:
            return Sample(drawn, self._log_prob[drawn], None, (len(drawn),) * (num_groups + 1))
        width = self.num_items + 1
        group = torch.zeros_like(targets) if group is None else group
        column = torch.searchsorted(drawn, targets)
        known = drawn[column.clamp(max=max(len(drawn) - 1, 0))] == targets if len(drawn) else targets < 0
        others = (~known).nonzero().squeeze(1)
        own, place = torch.unique(group[others] * width + targets[others], return_inverse=True)
        begins = torch.searchsorted(own, torch.arange(num_groups + 1) * width)  # (G+1,)
        column[others] = len(drawn) + place - begins[group[others]]
        items = torch.cat((drawn, own % width))
        return Sample(items, self._log_prob[items], column, tuple((len(drawn) + begins).tolist()))
