"""Thumbnails to vectors, by a small convolutional network that is trained with the model it serves."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shortlist.models.tracing import is_traced

CHANNELS = (16, 32, 64)  # of the three convolutions
AT_ONCE = 4096  # thumbnails, where no gradient is wanted


class ImageTower(nn.Module):
    """Three 3x3 convolutions of stride 2, each normalised over its channels and positions, the mean over what is left of the
    picture, and a linear layer.

    The normalisation is over each picture alone (Wu & He 2018, "Group normalization", with one group), so that a picture's
    vector does not depend on the others of its batch.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((3, *CHANNELS), CHANNELS, strict=False):
            convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            layers += [convolution, nn.GroupNorm(1, outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(CHANNELS[-1], width)

    def forward(self, images: Tensor) -> Tensor:
        """Vectors (N, D) of thumbnails (N, 3, h, w) of bytes."""
        if torch.is_grad_enabled() or is_traced() or len(images) <= AT_ONCE:
            return self._embed(images)
        return torch.cat([self._embed(block) for block in torch.split(images, AT_ONCE)])

    def _embed(self, images: Tensor) -> Tensor:
        seen: Tensor = self.layers(images.to(self.last.weight.dtype) / 127.5 - 1)  # from -1 to 1
        embedded: Tensor = self.last(seen.mean((2, 3)))
        return embedded
