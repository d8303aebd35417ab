"""What a part of a network is told when there are more users and items than it was made for.

It is told as a copy that shares all tensors with the network before, which goes on: it may replace them, and never writes
into them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from shortlist.contracts import AnyFeatures

Place = Callable[
    [Tensor, int], Tensor
]  # rows (I+1, D) of the items that were trained, and a number n, to n new ones' (n, D)


@dataclass(frozen=True, slots=True)
class More:
    """How many users and items there are more, and the features of all items."""

    users: int
    items: int
    features: AnyFeatures | None


@runtime_checkable
class GrowsBy(Protocol):
    """A part of a network that holds something for each user or item."""

    def grow_by(self, more: More, place: Place, /) -> None:
        """Hold something for the new ones, too: behind all others, and for an item in a table of rows what ``place`` says."""
        ...


def nowhere(rows: Tensor, count: int) -> Tensor:
    """The rows of ``count`` users or items that nothing is known of."""
    return rows.new_zeros(count, *rows.shape[1:])
