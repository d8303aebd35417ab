"""Golden files as dictionaries of tensors, and padding turned from the left, as the authors have it, to the right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

Golden = Callable[[str], dict[str, Tensor]]


@pytest.fixture(scope="session")
def golden(golden_dir: Path) -> Golden:
    """The arrays of a file by name."""

    def load(name: str) -> dict[str, Tensor]:
        file = np.load(golden_dir / f"{name}.npz", allow_pickle=False)
        return {key: torch.from_numpy(np.asarray(file[key])) for key in file.files if file[key].dtype.kind in "biuf"}

    return load


def to_right(values: Tensor, length: Tensor) -> Tensor:
    """Rows (B, T, …) padded on the left as rows padded on the right; what fills the padding is 0."""
    steps = values.shape[1]
    place = torch.arange(steps) + (steps - length)[:, None]
    moved = values[torch.arange(len(values))[:, None], place.clamp(max=steps - 1)]
    inside = (torch.arange(steps) < length[:, None]).view(*place.shape, *(1,) * (values.dim() - 2))
    return torch.where(inside, moved, torch.zeros_like(moved))
