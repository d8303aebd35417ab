"""The catalogue's item features as a part of a network: data that goes where the network goes, and is not saved with it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from shortlist.contracts import FeatureLayout, Features


class ItemFeatures(nn.Module):
    """Encoded item features (I+1 rows) that follow their network to its device and its number format."""

    def __init__(self, features: Features) -> None:
        super().__init__()
        self.features = features

    @classmethod
    def of(cls, features: Features | None) -> ItemFeatures | None:
        """None where items have no features."""
        return None if features is None else cls(features)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def layout(self) -> FeatureLayout:
        """The sizes of the columns."""
        return self.features.layout

    def take(self, items: Tensor) -> Features:
        """The rows of items (N,)."""
        return self.features.take(items)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ItemFeatures:
        """What ``to()``, ``double()`` and the like call for every tensor of a module."""
        self.features = self.features.map(fn)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self
