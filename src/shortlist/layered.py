"""Features of items, and later rows of some of them, into features whose rows come from where the newest lie.

Nothing that was there is copied: an item's later row goes behind all others, and a map says where each item's row is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from shortlist.features import FeatureLayout, Features, stacked_ragged
from shortlist.rows import Tail

TIDIED_FROM = 1024  # later rows, from which those that no item uses any more are dropped


@dataclass(frozen=True, slots=True)
class LayeredFeatures:
    """N encoded rows, like :class:`Features`, that lie in ``base`` and, those that came later, in ``tail``.

    It never changes; :meth:`plus` makes another, which shares its memory. Make the first with :func:`with_rows`.
    """

    base: Features
    tail: Features
    place: Tensor  # (N,) int32, each item's row in base and then tail
    tails: Mapping[str, Tail]  # of the tail's tensors
    origin: object  # one for all whose tails begin with the same rows

    @property
    def layout(self) -> FeatureLayout:
        """The sizes of the columns."""
        return self.base.layout

    @property
    def num_stored(self) -> int:
        """Rows in base and tail; further ones go behind them."""
        return len(self.base) + len(self.tail)

    def __len__(self) -> int:
        return len(self.place)

    def take(self, rows: Tensor) -> Features:
        """The given rows (N',), in that order."""
        place = self.place[rows]
        is_late = place >= len(self.base)
        if not bool(is_late.any()):
            return self.base.take(place)
        late = is_late.nonzero().squeeze(1)
        found = self.base.take(place.clamp(max=len(self.base) - 1))
        own = self.tail.take(place[late] - len(self.base))
        for kind in ("categorical", "numeric", "vectors"):
            table, rows_of_kind = getattr(found, kind), getattr(own, kind)
            if table is not None:
                table[late] = rows_of_kind
        for table, rows_of_kind in zip(found.images, own.images, strict=True):
            table[late] = rows_of_kind
        if not found.multi:
            return found
        order = torch.arange(len(place), device=place.device)
        order[late] = len(place) + torch.arange(len(late), device=place.device)
        pairs = zip(found.multi, own.multi, strict=True)
        return replace(found, multi=tuple(stacked_ragged(*pair).take(order) for pair in pairs))

    def whole(self) -> Features:
        """The rows of all items in one piece."""
        return self.take(torch.arange(len(self), device=self.place.device))

    def only(self, *kinds: str) -> LayeredFeatures:
        """The same without the kinds that are not named; only to be read."""
        return replace(self, base=self.base.only(*kinds), tail=self.tail.only(*kinds))

    def beside(self, base: Features, tail: Features) -> LayeredFeatures:
        """Other columns of the same items, whose rows lie in the same places; only to be read."""
        return replace(self, base=base, tail=tail)

    def tail_items(self) -> Tensor:
        """Which item each row of the tail (T,) is of, 0 where others have replaced it."""
        items = torch.zeros(len(self.tail), dtype=torch.int64, device=self.place.device)
        late = (self.place >= len(self.base)).nonzero().squeeze(1)
        items[self.place[late] - len(self.base)] = late
        return items

    def map(self, change: Callable[[Tensor], Tensor]) -> LayeredFeatures:
        """The same with ``change`` made to every tensor."""
        return _over(self.base.map(change), self.tail.map(change), change(self.place))

    def plus(self, items: Tensor, rows: Features) -> LayeredFeatures:
        """The same with ``rows`` (M) for ``items`` (M,), each named once: known ones, and all those up to the largest."""
        tidied = self._tidied()
        known = len(tidied)
        place = tidied.place.new_empty(max(known, int(items.max()) + 1))
        place[:known] = tidied.place
        place[items] = torch.arange(
            tidied.num_stored, tidied.num_stored + len(items), dtype=place.dtype, device=place.device
        )
        tails = {name: tidied.tails[name].plus(added) for name, added in tidied._behind(rows).items()}
        return replace(tidied, tail=_shown(tidied.layout, tails), place=place, tails=tails)

    def _behind(self, rows: Features) -> dict[str, Tensor]:
        """The tensors of ``rows`` as they go behind those of the tail."""
        added = rows.tensors()
        for number, field in enumerate(self.tail.multi):
            added[f"multi{number}_offsets"] = rows.multi[number].offsets[1:] + len(field.values)
        return added

    def _tidied(self) -> LayeredFeatures:
        """The same without the rows in the tail that others have replaced, where those are most of it."""
        if len(self.tail) < TIDIED_FROM:
            return self
        items = (self.place >= len(self.base)).nonzero().squeeze(1)
        if 2 * len(items) > len(self.tail):
            return self
        place = self.place.clone()
        place[items] = torch.arange(len(self.base), len(self.base) + len(items), dtype=place.dtype, device=place.device)
        return _over(self.base, self.tail.take(self.place[items] - len(self.base)), place)


AnyFeatures = Features | LayeredFeatures


def with_rows(features: AnyFeatures, items: Tensor, rows: Features) -> LayeredFeatures:
    """``features`` with ``rows`` (M) for ``items`` (M,): known ones get them, and those behind the last one are new.

    >>> before = Features(FeatureLayout(numeric=1), numeric=torch.tensor([[0.0], [1.0]]))
    >>> after = with_rows(before, torch.tensor([2, 1]), Features(before.layout, numeric=torch.tensor([[2.0], [9.0]])))
    >>> after.take(torch.arange(3)).numeric.tolist()
    [[0.0], [9.0], [2.0]]
    """
    if isinstance(features, Features):
        nothing = features.take(torch.zeros(0, dtype=torch.int64))
        features = _over(features, nothing, torch.arange(len(features), dtype=torch.int32))
    return features.plus(items, rows)


def _over(base: Features, tail: Features, place: Tensor) -> LayeredFeatures:
    return LayeredFeatures(
        base, tail, place, {name: Tail(table) for name, table in tail.tensors().items()}, origin=object()
    )


def _shown(layout: FeatureLayout, tails: Mapping[str, Tail]) -> Features:
    return Features.of_tensors(layout, {name: tail.rows for name, tail in tails.items()})
