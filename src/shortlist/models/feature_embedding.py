"""Encoded feature rows to one vector each, and bags of ids to sums and means of a table's rows."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from shortlist.contracts import FeatureLayout, Features, Ragged
from shortlist.models.images import ImageTower
from shortlist.models.tracing import is_traced


class FeatureEmbedding(nn.Module):
    """Feature rows to vectors of one width: the sum of what every field says.

    Each categorical value has a vector, a multi-hot field gives the mean of its values' vectors, the numeric columns go
    through one linear layer, the vectors through another, and thumbnails through a small convolutional network. All ids
    share one fused table (see :class:`FeatureLayout`).
    """

    def __init__(self, layout: FeatureLayout, width: int, *, std: float) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(layout.num_ids, width).normal_(std=std)) if layout.num_ids else None
        self.numeric = nn.Linear(layout.numeric, width) if layout.numeric else None
        self.vectors = nn.Linear(sum(layout.vectors), width) if layout.vectors else None
        self.images = nn.ModuleList(ImageTower(width) for _ in layout.images)
        for layer in (self.vectors, *(tower.last for tower in self.images)):
            if isinstance(layer, nn.Linear):  # begin as loud as a category, or ids have to shout them down
                nn.init.normal_(layer.weight, std=std * layer.in_features**-0.5)
                nn.init.zeros_(layer.bias)

    def forward(self, features: Features) -> Tensor:
        """Vectors (N, D) of N rows."""
        parts: list[Tensor] = []
        if self.table is not None:
            if features.categorical is not None:
                parts.append(_sum_of_rows(self.table, features.categorical))
            parts += [bags(self.table, field, mode="mean") for field in features.multi]
        if self.numeric is not None and features.numeric is not None:
            parts.append(self.numeric(features.numeric))
        if self.vectors is not None and features.vectors is not None:
            parts.append(self.vectors(features.vectors))
        parts += [tower(images) for tower, images in zip(self.images, features.images, strict=True)]
        return torch.stack(parts).sum(0)


def _sum_of_rows(table: Tensor, ids: Tensor) -> Tensor:
    """The sum (N, D) of the table's rows for ids (N, F)."""
    if is_traced():  # ONNX has no bags
        return nn.functional.embedding(ids, table).sum(1)
    return nn.functional.embedding_bag(ids, table, mode="sum")


def bags(table: Tensor, field: Ragged, *, mode: Literal["sum", "mean"], sparse: bool = False) -> Tensor:
    """The sum or mean (N, D) of the table's rows for each of N bags of ids; 0 of an empty one."""
    values, offsets = field.values, field.offsets.to(field.values.dtype)
    if not is_traced():
        return nn.functional.embedding_bag(values, table, offsets, mode=mode, sparse=sparse, include_last_offset=True)
    place = torch.arange(values.shape[0], device=values.device)  # ONNX has no bags
    inside = ((place >= offsets[:-1, None]) & (place < offsets[1:, None])).to(table.dtype)  # (N, M)
    total = inside @ nn.functional.embedding(values, table)
    return total if mode == "sum" else total / inside.sum(1, keepdim=True).clamp(min=1)
