"""Requests with items as a plain table of categories and numbers: what boosted trees read."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shortlist.contracts import Catalogue, Examples, FeatureLayout, Features, Requests
from shortlist.errors import SettingsError
from shortlist.models.crosses import Crosses
from shortlist.models.more import More, Place

MOST_MULTI = 512  # values of multi-hot fields, each a column of its own


class TreeColumns(nn.Module):
    """The categories (M, F) and numbers (M, G) of M pairs of a request and an item.

    Categories are the user, the item and all fields with one value, each from 0 (unknown). Numbers are the numeric
    columns, those of vectors, a column of 0 or 1 for each value of a multi-hot field, the crossed columns, and the evidence.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        super().__init__()
        self.has_users, self.has_items = catalogue.num_users > 0, catalogue.num_items > 0
        self.user_layout, self.context_layout = catalogue.user_features, catalogue.context
        self.item_features, self.evidence = catalogue.item_features, catalogue.evidence
        self.crosses = Crosses(catalogue) if catalogue.crosses else None
        item_layout = None if self.item_features is None else self.item_features.layout
        layouts = [layout for layout in (self.user_layout, self.context_layout, item_layout) if layout is not None]
        wide = sum(sum(layout.multi) for layout in layouts)
        if wide > MOST_MULTI:
            raise SettingsError(
                f"The multi-hot fields have {wide:,} values, and trees would read each as a column; at most {MOST_MULTI} may be. "
                "Raise the features' min_count, give them fewer buckets, leave some out, or use DeepFM or DLRM."
            )
        if any(layout.images for layout in layouts):
            raise SettingsError(
                "Trees read numbers, and the schema has an image that only a network can see. Give the feature an encoder, which "
                "makes a vector of it, or use DeepFM or DLRM."
            )
        self.num_categories = self.has_users + self.has_items + sum(len(layout.categorical) for layout in layouts)

    def grow_by(self, more: More, _: Place) -> None:
        """Know the features of new items."""
        self.item_features = more.features

    def forward(
        self, requests: Requests, items: Tensor, evidence: Tensor | None, own: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Categories (B * C, F) int32 and numbers (B * C, G) of items (B, C); ``own`` as in :class:`Crosses`."""
        rows, width = items.shape
        categories, numbers = list[Tensor](), list[Tensor]()
        if self.has_users:
            assert requests.user is not None
            categories.append(requests.user.int()[:, None])
        for layout, features in (
            (self.user_layout, requests.user_features),
            (self.context_layout, requests.context),
        ):
            if layout is not None:
                _add(Features.unknown(layout, rows) if features is None else features, layout, categories, numbers)
        categories = [part.repeat_interleave(width, dim=0) for part in categories]
        numbers = [part.repeat_interleave(width, dim=0) for part in numbers]
        flat = items.flatten()
        if self.has_items:
            categories.append(flat.int()[:, None])
        if self.item_features is not None:
            _add(self.item_features.take(flat), self.item_features.layout, categories, numbers)
        if self.crosses is not None:
            numbers.append(self.crosses(requests, items, own).flatten(0, 1))
        if self.evidence:
            numbers.append(
                (items.new_zeros(*items.shape, self.evidence) if evidence is None else evidence).flatten(0, 1)
            )
        empty = torch.zeros(len(flat), 0)
        return torch.cat([empty.int(), *categories], dim=1), torch.cat(
            [empty, *(part.float() for part in numbers)], dim=1
        )

    def of_examples(self, examples: Examples) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Categories, numbers, labels or ratings (M,) and weights (M,) of what is to be learnt from.

        A positive comes with its sampled negatives; empty slots of lists are left out.
        """
        items = examples.items
        if examples.targets is None:
            assert examples.negatives is not None
            items = torch.cat((items, examples.negatives[:, 0]), dim=1)  # (B, 1+N)
            targets = torch.zeros(items.shape)
            targets[:, 0] = 1
            own: Tensor | None = targets[..., None].expand(-1, -1, 2)
        else:
            targets = examples.targets.float()
            own = None if examples.evidence is not None else torch.stack((torch.ones_like(targets), targets), dim=2)
        categories, numbers = self(examples.requests, items, examples.evidence, own)
        there = (items > 0).flatten() if self.has_items else torch.ones(items.numel(), dtype=torch.bool)
        weights = torch.ones(items.shape) if examples.weights is None else examples.weights.expand(items.shape)
        return categories[there], numbers[there], targets.flatten()[there], weights.flatten()[there]


def _add(features: Features, layout: FeatureLayout, categories: list[Tensor], numbers: list[Tensor]) -> None:
    """Add the columns of one owner's features."""
    if features.categorical is not None:
        first = torch.tensor(layout.offsets[: len(layout.categorical)], dtype=torch.int32)
        categories.append(features.categorical - first)
    numbers += [table for table in (features.numeric, features.vectors) if table is not None]
    for field, size, first_id in zip(
        features.multi, layout.multi, layout.offsets[len(layout.categorical) :], strict=True
    ):
        table = torch.zeros(len(field), size)
        row = torch.repeat_interleave(torch.arange(len(field)), field.offsets.diff())
        table[row, field.values.long() - first_id] = 1
        numbers.append(table)
