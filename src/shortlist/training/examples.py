"""Examples to the same examples on another device, or to a digest that tells whether two are equal."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from shortlist.contracts import Examples
from shortlist.features import mapped

__all__ = ["digest", "move"]


def move(examples: Examples, device: torch.device) -> Examples:
    """The examples with every tensor on ``device``."""
    moved: Examples = mapped(examples, lambda tensor: tensor.to(device, non_blocking=True))
    return moved


def digest(examples: Examples, /) -> str:
    """A short hash of every tensor's type, shape and values."""
    hashed = hashlib.sha256()
    for tensor in _tensors(examples):
        hashed.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        hashed.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hashed.hexdigest()[:16]


def _tensors(part: Any) -> Iterator[Tensor]:
    if isinstance(part, Tensor):
        yield part
    elif isinstance(part, tuple):
        for each in part:
            yield from _tensors(each)
    elif is_dataclass(part):
        for each in fields(part):
            yield from _tensors(getattr(part, each.name))
