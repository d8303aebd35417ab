"""Dropout that costs a CPU little."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

BITS = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}


class Dropout(nn.Module):
    """Inverted dropout with its probability rounded to 1/256, so that one random byte decides about each number.

    On a CPU this takes a fraction of ``nn.Dropout``'s time, which would be a third of a transformer's step.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def extra_repr(self) -> str:
        """The probability, for the network's ``repr``."""
        return f"{self.probability}"

    def forward(self, values: Tensor) -> Tensor:
        """``values`` of any shape; in training some are 0 and the others larger."""
        if not self.training or self.probability == 0:
            return values
        if values.device.type != "cpu" or values.dtype not in BITS:
            return nn.functional.dropout(values, self.probability)
        threshold = min(round(self.probability * 256), 255)
        return values * _mask(values, threshold, 256 / (256 - threshold))


def _mask(values: Tensor, threshold: int, scale: float) -> Tensor:
    """Of the shape of ``values``: ``scale`` where a random byte is below ``256 - threshold``, else 0.

    It is made of bits: to turn truth values into numbers would take as long as all the rest.
    """
    kind = BITS[values.dtype]
    words = torch.empty((values.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    below = words.view(torch.int8)[: values.numel()].to(kind).sub_(128 - threshold)  # below 0 where it stays
    stays = below.bitwise_right_shift_(torch.iinfo(kind).bits - 1)  # all bits or none
    return stays.bitwise_and_(_bits(scale, values.dtype)).view(values.dtype).view(values.shape)


@cache
def _bits(scale: float, dtype: torch.dtype) -> int:
    """The number whose bits, as an integer, are those of ``scale``."""
    return int(torch.tensor(scale, dtype=dtype).view(BITS[dtype]))
