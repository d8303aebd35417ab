"""The catalogue's item features as a part of a network: data that goes where the network goes, and is not saved with it; and
what a network keeps of all items.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from shortlist.contracts import AnyFeatures, FeatureLayout, Features
from shortlist.layered import LayeredFeatures
from shortlist.models.more import More, Place

LATE_SHARE = 0.1  # of the items that may have come or changed since something was kept of all


class ItemFeatures(nn.Module):
    """Encoded item features (I+1 rows) that follow their network to its device and its number format."""

    def __init__(self, features: AnyFeatures) -> None:
        super().__init__()
        self.features = features

    @classmethod
    def of(cls, features: AnyFeatures | None) -> ItemFeatures | None:
        """None where items have no features."""
        return None if features is None else cls(features)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def layout(self) -> FeatureLayout:
        """The sizes of the columns."""
        return self.features.layout

    def grow_by(self, more: More, _: Place) -> None:
        """Know those of new items."""
        if more.features is not None:
            self.features = more.features

    def take(self, items: Tensor) -> Features:
        """The rows of items (N,)."""
        return self.features.take(items)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ItemFeatures:
        """What ``to()``, ``double()`` and the like call for every tensor of a module."""
        self.features = self.features.map(fn)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


@dataclass(frozen=True, slots=True)
class Kept:
    """What a network has made of the items of ``features``: vectors (I+1, F, D) and numbers (I+1, G)."""

    state: object  # of the weights they come from
    features: AnyFeatures
    vectors: Tensor
    numbers: Tensor

    @property
    def num_stored(self) -> int:
        """Rows of features that there were: behind them lie those of items that came or changed since."""
        return self.features.num_stored if isinstance(self.features, LayeredFeatures) else len(self.features)

    def serves(self, features: AnyFeatures) -> bool:
        """Whether most of ``features`` are those it was made of, with their rows in the same places."""
        mine = self.features
        if features is mine or not isinstance(features, LayeredFeatures):
            return features is mine
        is_same = mine.origin is features.origin if isinstance(mine, LayeredFeatures) else mine is features.base
        return is_same and features.num_stored - self.num_stored <= LATE_SHARE * len(features)

    def take(
        self, features: AnyFeatures, items: Tensor, make: Callable[[Tensor], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """The vectors (N, F, D) and numbers (N, G) of items (N,): ``make`` makes those of items that came or changed since."""
        late = items.new_empty(0)
        if isinstance(features, LayeredFeatures):
            late = (features.place[items] >= self.num_stored).nonzero().squeeze(1)
        if not len(late):
            return self.vectors.index_select(0, items), self.numbers.index_select(0, items)
        known = items.index_fill(0, late, 0)
        vectors, numbers = self.vectors.index_select(0, known), self.numbers.index_select(0, known)
        vectors[late], numbers[late] = make(items[late])
        return vectors, numbers
