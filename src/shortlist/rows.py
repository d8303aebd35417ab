"""Tables of rows that grow without being copied: what was there stays in its place, what is added stands in a tail behind it.

It does not know what the rows mean.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROOM = 64  # rows that a tail has memory for at least


class Tail:
    """Rows (n, …) that never change. :meth:`plus` makes a longer tail that shares their memory.

    The memory has room behind the rows. Who adds to the longest tail writes there, where no other tail looks; who adds to
    a shorter one gets a copy.

    >>> short = Tail(torch.tensor([1, 2]))
    >>> longer = short.plus(torch.tensor([3]))
    >>> short.rows.tolist(), longer.rows.tolist(), short.plus(torch.tensor([4])).rows.tolist()
    ([1, 2], [1, 2, 3], [1, 2, 4])
    """

    __slots__ = ("_free", "_room", "rows")

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows
        self._room = rows
        self._free = [len(rows)]  # where the unused memory begins; empty while somebody writes there

    def __len__(self) -> int:
        return len(self.rows)

    @torch.inference_mode(mode=False)  # its memory is written again at other times
    @torch.no_grad()
    def plus(self, rows: Tensor) -> Tail:
        """The same with ``rows`` (m, …) behind them."""
        count, total = len(self), len(self) + len(rows)
        room, free = self._room, self._free
        if total > len(room) or not self._claim():
            room, free = room.new_empty((max(ROOM, 2 * total), *room.shape[1:])), []
            room[:count] = self.rows
        room[count:total] = rows
        free.append(total)
        longer = Tail.__new__(Tail)
        longer.rows, longer._room, longer._free = room[:total], room, free
        return longer

    def _claim(self) -> bool:
        """Whether the unused memory begins behind these very rows, and nobody else writes there: a list pops for one alone."""
        try:
            begins = self._free.pop()
        except IndexError:
            return False
        if begins == len(self):
            return True
        self._free.append(begins)
        return False


def taken(base: Tensor, tail: Tensor | None, places: Tensor) -> Tensor:
    """The rows (…, D) at ``places`` (…) of ``base`` (n, D) and, behind its last one, of ``tail`` (t, D).

    >>> taken(torch.tensor([10, 11]), torch.tensor([12]), torch.tensor([2, 0])).tolist()
    [12, 10]
    """
    if tail is None:
        return base[places]
    late = places >= len(base)
    if not bool(late.any()):
        return base[places]
    found = base[places.clamp(max=len(base) - 1)]
    found[late] = tail[places[late] - len(base)]
    return found
