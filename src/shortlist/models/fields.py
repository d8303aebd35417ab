"""The columns of a request and of its items as fields: a vector for each id column, all from one table, and the numbers.

It does not know what a model makes of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from shortlist.contracts import Catalogue, Examples, FeatureLayout, Features, Ragged, Requests
from shortlist.models.crosses import Crosses
from shortlist.models.images import ImageTower
from shortlist.models.item_features import ItemFeatures
from shortlist.models.layers import Embedding, bags
from shortlist.models.tracing import is_traced

Bags = Literal["sum", "mean"]
# What Fields.rows finds, and its axes in the letters of contracts.py, F fields and G numbers.
AXES = {"request": "BFD", "request_numbers": "BG", "pair": "BCFD", "pair_numbers": "BCG"}
PREPARED_BYTES = 64 * 2**20  # up to which the vectors of all items with features are kept while a network serves


class Fields(nn.Module):
    """Vectors of the user, their features and the context (request fields), and of the item and its features (pair
    fields); the numbers of both, and of a request with an item those of the crossed columns.

    One table holds them all, each field's rows behind those of the one before, its unknown value first. A multi-hot
    field is the sum or the mean of its values' vectors, 0 where it has none. The vectors of the unknown user and item
    are 0 and no event teaches them anything. A column of vectors is a field by a linear layer, one of thumbnails by a small
    convolutional network.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        width: int,
        *,
        init: Callable[[Tensor], object],
        bags: Bags = "mean",
        sparse: bool = False,
    ) -> None:
        """``init`` draws the rows (V, D) of one field in place."""
        super().__init__()
        self.width, self.bags = width, bags
        item_layout = None if catalogue.item_features is None else catalogue.item_features.layout
        self.has_users, self.has_items = catalogue.num_users > 0, catalogue.num_items > 0
        self.user_layout, self.context_layout = catalogue.user_features, catalogue.context
        layouts = (catalogue.user_features, catalogue.context, item_layout)
        ids = (catalogue.num_users + 1 if self.has_users else 0, catalogue.num_items + 1 if self.has_items else 0)
        sizes = [ids[0], *(0 if layout is None else layout.num_ids for layout in layouts[:2]), ids[1]]
        self.user_base, self.context_base, self.item_base = sizes[0], sum(sizes[:2]), sum(sizes[:3])
        self.feature_base = sum(sizes)
        self.item_features = self.item_looks = None
        if catalogue.item_features is not None:
            columns = replace(self._in_table(catalogue.item_features), vectors=None, images=())
            self.item_features = ItemFeatures(columns)
            if columns.layout.num_dense:
                looks = replace(catalogue.item_features, categorical=None, multi=(), numeric=None)
                self.item_looks = ItemFeatures(looks)
        self.crosses = Crosses(catalogue) if catalogue.crosses else None
        fields: list[int] = []
        for own_ids, layout in zip((ids[0], 0, ids[1]), layouts, strict=True):
            fields += [own_ids] if own_ids else []
            fields += () if layout is None else layout.categorical + layout.multi
        num_fields = [0 if each is None else each.num_fields + each.num_dense for each in layouts]
        self.num_request_fields = self.has_users + num_fields[0] + num_fields[1]
        self.num_pair_fields = self.has_items + num_fields[2]
        self.num_request_numbers = sum(0 if each is None else each.numeric for each in layouts[:2])
        self.num_pair_numbers = 0 if item_layout is None else item_layout.numeric
        if self.crosses is not None:
            self.num_pair_numbers += self.crosses.num_numbers
        self.sizes = fields
        self.item_block = len(fields) - (0 if item_layout is None else item_layout.num_fields) - 1
        self.embedding = Embedding(sum(fields), width, sparse=sparse)
        self.dense = nn.ModuleDict(
            {
                owner: DenseFields(layout, width, init=init)
                for owner, layout in zip(("user", "context", "item"), layouts, strict=True)
                if layout is not None and layout.num_dense
            }
        )
        self._kept: tuple[Any, Tensor, Tensor] | None = None
        with torch.no_grad():
            for rows in torch.split(self.table, fields):
                init(rows)
            if self.has_users:
                self.table[0] = 0
            if self.has_items:
                self.table[self.item_base] = 0

    @property
    def table(self) -> nn.Parameter:
        """The rows (V, D) of all fields."""
        return cast("nn.Parameter", self.embedding.weight)

    @property
    def has_pairs(self) -> bool:
        """Whether anything differs between the items of a request."""
        return self.num_pair_fields + self.num_pair_numbers > 0

    @property
    def num_fields(self) -> int:
        """Id columns (F)."""
        return self.num_request_fields + self.num_pair_fields

    @property
    def num_numbers(self) -> int:
        """Numeric columns (G)."""
        return self.num_request_numbers + self.num_pair_numbers

    def forget_users(self, users: Tensor) -> None:
        """Treat the users (N,) as unknown: training will not meet them."""
        if self.has_users:
            with torch.no_grad():
                self.table[users] = 0

    def count(self, examples: Examples) -> None:
        """Count what training will learn from, for the crossed columns."""
        if self.crosses is not None:
            self.crosses.count(examples)

    @torch.no_grad()
    def take_over(self, other: Fields, place: Callable[[Tensor], Tensor] | None) -> None:
        """Copy what ``other``, of fewer users or items, has learnt; new items get the rows that ``place`` makes of the known."""
        blocks = zip(torch.split(self.table, self.sizes), torch.split(other.table, other.sizes), strict=True)
        for block, (rows, known) in enumerate(blocks):
            rows[: len(known)] = known
            if place is not None and len(rows) > len(known):  # of users, or of items
                rows[len(known) :] = place(known) if block == self.item_block and self.has_items else 0
        self.dense.load_state_dict(other.dense.state_dict())
        if self.crosses is not None and other.crosses is not None:
            self.crosses.load_state_dict(other.crosses.state_dict())

    def rows(self, requests: Requests, items: Tensor, own: Tensor | None = None) -> dict[str, Tensor]:
        """What the columns hold for requests with items (B, C), by the names in ``AXES``; kinds that no column has are absent."""
        vectors, numbers = self.of_requests(requests)
        found = {"request": vectors} if self.num_request_fields else {}
        if self.num_request_numbers:
            found["request_numbers"] = numbers
        if self.has_pairs:
            vectors, numbers = self.of_pairs(requests, items, own)
            found |= {"pair": vectors} if self.num_pair_fields else {}
            found |= {"pair_numbers": numbers} if self.num_pair_numbers else {}
        return found

    def of_requests(self, requests: Requests) -> tuple[Tensor, Tensor]:
        """Vectors (B, F, D) and numbers (B, G) of the request fields."""
        groups: list[Tensor] = []
        if self.has_users:
            assert requests.user is not None
            groups.append(requests.user[:, None])
        parts, numbers = _Parts(groups, []), list[Tensor]()
        for owner, layout, features, base in (
            ("user", self.user_layout, requests.user_features, self.user_base),
            ("context", self.context_layout, requests.context, self.context_base),
        ):
            if layout is not None:
                given = (
                    Features.unknown(layout, len(requests), device=self.table.device) if features is None else features
                )
                parts.add(given, base)
                if owner in self.dense:
                    parts.dense += self.dense[owner](given)
                if given.numeric is not None:
                    numbers.append(given.numeric)
        vectors = self._vectors(parts)
        if vectors is None:
            vectors = self.table.new_zeros(numbers[0].shape[0] if numbers else len(requests), 0, self.width)
        return vectors, self._numbers(numbers, vectors)

    def of_pairs(self, requests: Requests, items: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor]:
        """Vectors (B, C, F, D) and numbers (B, C, G) of the fields of requests with items (B, C).

        In training ``own`` (B, C, 2) are the event and the liked event that each pair itself is, see :class:`Crosses`.
        """
        vectors, numbers = self.of_items(items)
        if self.crosses is None:
            return vectors, numbers
        met = self.crosses(requests, items, own).to(numbers.dtype)
        return vectors, torch.cat((numbers, met), dim=2)

    def of_items(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (B, C, F, D) and numbers (B, C, G) of the fields of items (B, C) alone, without crossed columns."""
        flat = items.reshape(-1)
        if self.item_features is not None and not self.training and not torch.is_grad_enabled():
            prepared = self._prepared(self.item_features)
            if prepared is not None:
                vectors, numbers = (part.index_select(0, flat) for part in prepared)
                return vectors.view(*items.shape, *vectors.shape[1:]), numbers.view(*items.shape, numbers.shape[1])
        vectors, numbers = self._items(flat)
        return vectors.view(*items.shape, *vectors.shape[1:]), numbers.view(*items.shape, numbers.shape[1])

    def _items(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (N, F, D) and numbers (N, G) of items (N,)."""
        parts, numbers = _Parts([], []), list[Tensor]()
        if self.item_features is None and self.has_items:
            parts.ids.append(items[:, None] + self.item_base)
        if self.item_features is not None:
            features = self.item_features.features
            parts.ids += [] if features.categorical is None else [features.categorical.index_select(0, items)]
            parts.bags += [field.take(items) for field in features.multi]
            numbers += [] if features.numeric is None else [features.numeric.index_select(0, items)]
        if self.item_looks is not None:  # an item that comes several times is looked at once
            distinct, places = torch.unique(items, return_inverse=True)
            parts.dense += [field[places] for field in self.dense["item"](self.item_looks.take(distinct))]
        vectors = self._vectors(parts)
        if vectors is None:
            vectors = self.table.new_zeros(items.shape[0], 0, self.width)
        return vectors, self._numbers(numbers, vectors)

    def _in_table(self, features: Features) -> Features:
        """The items' features with all ids as rows of the table, an item's own first: one lookup finds them."""
        ids = [] if features.categorical is None else [features.categorical + self.feature_base]
        if self.has_items:
            device = next(iter(features.tensors().values())).device  # not the one that the network is built on
            ids.insert(0, (torch.arange(len(features), device=device) + self.item_base).int()[:, None])
        multi = tuple(Ragged(field.values + self.feature_base, field.offsets) for field in features.multi)
        return replace(features, categorical=torch.cat(ids, dim=1) if ids else None, multi=multi)

    def _prepared(self, features: ItemFeatures) -> tuple[Tensor, Tensor] | None:
        """What :meth:`_items` says of every item, kept as long as the weights are as they were; None where it takes much memory.

        Thumbnails are always worth it: to look at one again takes longer than all else.
        """
        if is_traced():  # a graph holds what keep_items has kept
            return None if self._kept is None else self._kept[1:]
        size = len(features) * (self.num_pair_fields * self.width + self.num_pair_numbers) * 4
        if size > PREPARED_BYTES and not features.layout.images:
            return None
        if self._kept is None or self._kept[0] != self._state():
            self._keep(features)
        return None if self._kept is None else self._kept[1:]

    @torch.no_grad()
    def keep_items(self) -> None:
        """Keep what is known of every item, whatever memory it takes, where a graph could not look it up by itself."""
        self._kept = None
        if self.item_features is not None and (self.item_features.layout.multi or self.item_looks is not None):
            self._keep(self.item_features)

    def _keep(self, features: ItemFeatures) -> None:
        self._kept = (self._state(), *self._items(torch.arange(len(features), device=self.table.device)))

    def _state(self) -> tuple[object, ...]:
        weights = (self.table, *self.dense.parameters())
        return tuple((weight.data_ptr(), weight._version, weight.dtype) for weight in weights)

    def _vectors(self, parts: _Parts) -> Tensor | None:
        found: list[Tensor] = []
        if parts.ids:
            ids = parts.ids[0] if len(parts.ids) == 1 else torch.cat(parts.ids, dim=1)
            found.append(self.embedding(ids))
        for field in parts.bags:
            found.append(bags(self.table, field, mode=self.bags, sparse=self.embedding.sparse)[:, None])
        found += [field[:, None].to(found[0].dtype) if found else field[:, None] for field in parts.dense]
        return (torch.cat(found, dim=1) if len(found) > 1 else found[0]) if found else None

    def _numbers(self, found: list[Tensor], vectors: Tensor) -> Tensor:
        if not found:
            return vectors.new_zeros(vectors.shape[0], 0)
        return found[0] if len(found) == 1 else torch.cat(found, dim=1)


class DenseFields(nn.Module):
    """The columns of vectors and thumbnails of one owner as field vectors."""

    def __init__(self, layout: FeatureLayout, width: int, *, init: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.widths = list(layout.vectors)
        self.vectors = nn.ModuleList(nn.Linear(each, width) for each in layout.vectors)
        self.images = nn.ModuleList(ImageTower(width) for _ in layout.images)
        with torch.no_grad():
            for layer in (*self.vectors, *(tower.last for tower in self.images)):
                assert isinstance(layer, nn.Linear)
                init(layer.weight.T)  # a row for each input, like a table's
                nn.init.zeros_(layer.bias)

    def forward(self, features: Features) -> list[Tensor]:
        """A vector (N, D) for each column."""
        columns = [] if features.vectors is None else torch.split(features.vectors, self.widths, dim=1)
        found = [layer(column) for layer, column in zip(self.vectors, columns, strict=True)]
        return found + [tower(images) for tower, images in zip(self.images, features.images, strict=True)]


class _Parts:
    """Ids of the single-valued fields (N, F), the bags of the multi-hot ones, in the ids of one table, and vectors (N, D)."""

    def __init__(self, ids: list[Tensor], bags: list[Ragged]) -> None:
        self.ids, self.bags, self.dense = ids, bags, list[Tensor]()

    def add(self, features: Features, base: int) -> None:
        """Add the columns of ``features`` whose ids begin at ``base``."""
        if features.categorical is not None:
            self.ids.append(features.categorical + base if base else features.categorical)
        self.bags += [Ragged(field.values + base, field.offsets) if base else field for field in features.multi]
