"""Negatives: items drawn uniformly that the user is not known to like."""

from __future__ import annotations

import torch
from torch import Tensor

from shortlist.contracts import Interactions
from shortlist.features import spans

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
            return self._bitmap[wanted]
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
    positives: Positives, rows: Tensor, num: int, *, generator: torch.Generator, tries: int = 20
) -> Tensor:
    """``num`` items (B, num) for each row (B,), uniform over the items the row does not have.

    Items the row has are drawn again, up to ``tries`` times; a user who has nearly everything may keep one.
    """
    num_items = positives.interactions.num_items
    drawn = torch.randint(1, num_items + 1, (len(rows), num), generator=generator)
    wide = rows[:, None].expand(-1, num).reshape(-1)
    flat = drawn.view(-1)
    wrong = positives.contains(wide, flat).nonzero().squeeze(1)
    for _ in range(tries):
        if not len(wrong):
            break
        flat[wrong] = torch.randint(1, num_items + 1, (len(wrong),), generator=generator)
        wrong = wrong[positives.contains(wide[wrong], flat[wrong])]
    return drawn
