"""The catalogue's item features as a part of a network: data that goes where the network goes, and is not saved with it.

Also as ids of a network's one table, and what a network keeps of all items.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from shortlist.contracts import AnyFeatures, FeatureLayout, Features, Ragged
from shortlist.layered import LayeredFeatures
from shortlist.models.more import More, Place

LATE_SHARE = 0.1  # of the items that may have come or changed since something was kept of all


class ItemFeatures(nn.Module):
    """Encoded item features (I+1 rows) that follow their network to its device and its number format."""

    def __init__(self, features: AnyFeatures, *kinds: str) -> None:
        """Hold the ``kinds`` that are named, such as "numeric", or without any all."""
        super().__init__()
        self.kinds = kinds
        self.features = self._seen(features)

    @classmethod
    def of(cls, features: AnyFeatures | None, *kinds: str) -> ItemFeatures | None:
        """None where items have no features."""
        return None if features is None else cls(features, *kinds)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def layout(self) -> FeatureLayout:
        """The sizes of the columns."""
        return self.features.layout

    def grow_by(self, more: More, _: Place) -> None:
        """Know those of new items."""
        if more.features is not None:
            self.features = self._seen(more.features)

    def _seen(self, features: AnyFeatures) -> AnyFeatures:
        return features.only(*self.kinds) if self.kinds else features

    def take(self, items: Tensor) -> Features:
        """The rows of items (N,)."""
        return self.features.take(items)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ItemFeatures:
        """What ``to()``, ``double()`` and the like call for every tensor of a module."""
        self.features = self.features.map(fn)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


@dataclass(frozen=True, slots=True)
class ItemRows:
    """Where in a table that holds them all the rows of items and of their features' values are."""

    first: int | None  # that of item 0; None: items have no rows of their own
    known: int  # items whose rows follow it
    late: int  # the first row of those that came later
    values: int  # the first row of the features' values

    def of(self, items: Tensor) -> Tensor:
        """The rows of items (N,)."""
        assert self.first is not None
        return items + torch.where(items < self.known, self.first, self.late - self.known)


class ItemsInTable(ItemFeatures):
    """The items' ids and numbers (I+1 rows), the ids as rows of a table, each item's own first: one lookup finds them all."""

    def __init__(self, features: AnyFeatures, rows: ItemRows) -> None:
        self.rows = rows
        self._laid: tuple[Features, ItemRows, Features] | None = None  # of which features, by which rows, and as what
        super().__init__(features)

    def _seen(self, features: AnyFeatures) -> AnyFeatures:
        """``features``, of which those of the first items are laid out once, the later ones each time there are more."""
        first = features.base if isinstance(features, LayeredFeatures) else features
        if self._laid is None or self._laid[0] is not first or self._laid[1] != self.rows:
            self._laid = first, self.rows, _laid_out(first, _every(first), self.rows)
        laid = self._laid[2]
        if not isinstance(features, LayeredFeatures):
            return laid
        return features.beside(laid, _laid_out(features.tail, features.tail_items(), self.rows))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ItemsInTable:
        super()._apply(fn, recurse)
        if self._laid is not None:
            features = self.features
            self._laid = *self._laid[:2], features.base if isinstance(features, LayeredFeatures) else features
        return self


def _every(features: Features) -> Tensor:
    device = next(iter(features.tensors().values())).device  # not the one that a network is built on
    return torch.arange(len(features), device=device)


def _laid_out(features: Features, items: Tensor, rows: ItemRows) -> Features:
    """The ``features`` of ``items`` (N,) but for what has no ids and is no number, by the ``rows`` of a table."""
    ids = [] if features.categorical is None else [features.categorical + rows.values]
    if rows.first is not None:
        ids.insert(0, rows.of(items).int()[:, None])
    multi = tuple(Ragged(field.values + rows.values, field.offsets) for field in features.multi)
    shown = features.only("categorical", "multi", "numeric")
    return replace(shown, categorical=torch.cat(ids, dim=1) if ids else None, multi=multi)


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
