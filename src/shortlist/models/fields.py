"""The columns of a request and of its items as fields: a vector for each id column, all from one table, and the numbers.

It does not know what a model makes of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast

import torch
from torch import Tensor, nn

from shortlist.contracts import Catalogue, Examples, Features, Ragged, Requests
from shortlist.models.crosses import Crosses
from shortlist.models.dense_fields import DenseFields
from shortlist.models.feature_embedding import bags
from shortlist.models.item_features import ItemFeatures, ItemRows, ItemsInTable, Kept
from shortlist.models.layers import Embedding
from shortlist.models.more import More, Place
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
        self.user_base, self.context_base, first_item = sizes[0], sum(sizes[:2]), sum(sizes[:3])
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
        self.item_rows = ItemRows(first_item if self.has_items else None, ids[1], len(self.table), sum(sizes))
        self.item_features: ItemsInTable | None = None
        self.item_looks: ItemFeatures | None = None
        if catalogue.item_features is not None:
            self.item_features = ItemsInTable(catalogue.item_features, self.item_rows)
            if catalogue.item_features.layout.num_dense:
                self.item_looks = ItemFeatures(catalogue.item_features, "vectors", "images")
        self._kept: Kept | None = None
        with torch.no_grad():
            for rows in torch.split(self.table, fields):
                init(rows)
            if self.has_users:
                self.table[0] = 0
            if self.has_items:
                self.table[first_item] = 0

    @property
    def table(self) -> nn.Parameter:
        """The rows (V, D) of all fields."""
        return cast("nn.Parameter", self.embedding.weight)

    def whole(self) -> Tensor:
        """The rows (V', D) with those of items that came later behind the other items'."""
        return self.embedding.whole()

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
    def take_over(self, other: Fields) -> None:
        """Copy what ``other``, of fewer users or items, has learnt; the rows of the others stay as they were drawn."""
        blocks = zip(torch.split(self.table, self.sizes), torch.split(other.whole(), other.sizes), strict=True)
        for rows, known in blocks:
            rows[: len(known)] = known
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

    def grow_by(self, more: More, place: Place) -> None:
        """Hold rows of new users, which are 0, and of new items: those that ``place`` finds."""
        if self.has_users and more.users:
            self._make_room(more.users)
        if self.item_rows.first is not None:
            first, end = self.item_rows.first, self.item_rows.first + self.item_rows.known
            rows = place(self.table.detach()[first:end], more.items)
            self.embedding.add(rows, behind=end)  # no row of the weight is moved
            self.sizes = [size + len(rows) * (block == self.item_block) for block, size in enumerate(self.sizes)]

    def _make_room(self, users: int) -> None:
        """Rows for new users behind the known ones, which come first: a table anew."""
        table, known = self.whole().detach(), self.sizes[0]
        table = torch.cat((table[:known], table.new_zeros(users, self.width), table[known:]))
        self.embedding.weight, self.embedding.added = nn.Parameter(table), None
        self.sizes = [known + users, *self.sizes[1:]]
        self.user_base, self.context_base = self.user_base + users, self.context_base + users
        if self.item_rows.first is not None:
            first, items = self.item_rows.first + users, self.sizes[self.item_block]
            self.item_rows = ItemRows(first, items, len(table), first + items)
        if self.item_features is not None:
            self.item_features.rows = self.item_rows

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
            kept = self._prepared(self.item_features)
            if kept is not None:
                vectors, numbers = kept.take(self.item_features.features, flat, self._items)
                return vectors.view(*items.shape, *vectors.shape[1:]), numbers.view(*items.shape, numbers.shape[1])
        vectors, numbers = self._items(flat)
        return vectors.view(*items.shape, *vectors.shape[1:]), numbers.view(*items.shape, numbers.shape[1])

    def _items(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (N, F, D) and numbers (N, G) of items (N,)."""
        parts, numbers = _Parts([], []), list[Tensor]()
        if self.item_features is not None:
            features = self.item_features.take(items)
            parts.ids += [] if features.categorical is None else [features.categorical]
            parts.bags += features.multi
            numbers += [] if features.numeric is None else [features.numeric]
        elif self.has_items:
            parts.ids.append(self.item_rows.of(items)[:, None])
        if self.item_looks is not None:  # an item that comes several times is looked at once
            distinct, places = torch.unique(items, return_inverse=True)
            parts.dense += [field[places] for field in self.dense["item"](self.item_looks.take(distinct))]
        vectors = self._vectors(parts)
        if vectors is None:
            vectors = self.table.new_zeros(items.shape[0], 0, self.width)
        return vectors, self._numbers(numbers, vectors)

    def _prepared(self, items: ItemFeatures) -> Kept | None:
        """What :meth:`_items` says of every item, kept as long as the weights are as they were; None where it takes much memory.

        Thumbnails are always worth it: to look at one again takes longer than all else. Items that came or changed since
        are looked at when they are asked for, until they are many.
        """
        if is_traced():  # a graph holds what keep_items has kept
            return self._kept
        size = len(items) * (self.num_pair_fields * self.width + self.num_pair_numbers) * 4
        if size > PREPARED_BYTES and not items.layout.images:
            return None
        kept = self._kept
        if kept is None or kept.state != self._state() or not kept.serves(items.features):
            kept = self._keep(items)
        return kept

    @torch.no_grad()
    def keep_items(self) -> None:
        """Keep what is known of every item, whatever memory it takes, where a graph could not look it up by itself."""
        self._kept = None
        if self.item_features is not None and (self.item_features.layout.multi or self.item_looks is not None):
            self._keep(self.item_features)

    def _keep(self, items: ItemFeatures) -> Kept:
        every = torch.arange(len(items), device=self.table.device)
        self._kept = Kept(self._state(), items.features, *self._items(every))
        return self._kept

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


class _Parts:
    """Ids of the single-valued fields (N, F), the bags of the multi-hot ones, in the ids of one table, and vectors (N, D)."""

    def __init__(self, ids: list[Tensor], bags: list[Ragged]) -> None:
        self.ids, self.bags, self.dense = ids, bags, list[Tensor]()

    def add(self, features: Features, base: int) -> None:
        """Add the columns of ``features`` whose ids begin at ``base``."""
        if features.categorical is not None:
            self.ids.append(features.categorical + base if base else features.categorical)
        self.bags += [Ragged(field.values + base, field.offsets) if base else field for field in features.multi]
