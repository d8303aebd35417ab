"""Columns of vectors and thumbnails to a vector for each column."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from shortlist.contracts import FeatureLayout, Features
from shortlist.models.images import ImageTower


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
