"""Vectors to points on a plane that can be looked at."""

from __future__ import annotations

import torch
from torch import Tensor


def principal_plane(vectors: Tensor) -> tuple[Tensor, float]:
    """The vectors (N,D) on the plane in which they vary most (N,2), and the share of the variance it shows.

    Principal component analysis (Pearson, 1901), its axes signed so that the largest weight of each is positive.

    >>> points, share = principal_plane(torch.tensor([[0.0, 0.0, 1.0], [3.0, 0.0, 1.0], [6.0, 0.0, 1.0]]))
    >>> points[:, 0].tolist(), round(share, 3)
    ([-3.0, 0.0, 3.0], 1.0)
    """
    centred = vectors.double() - vectors.double().mean(0)
    if len(centred) < 2 or centred.shape[1] < 2:
        width = min(2, centred.shape[1])
        return torch.nn.functional.pad(centred[:, :width], (0, 2 - width)).float(), 1.0
    values, axes = torch.linalg.eigh(centred.T @ centred)  # rising
    plane = axes[:, [-1, -2]]
    signs = plane.gather(0, plane.abs().argmax(0, keepdim=True)).sign()
    total = float(values.clamp(min=0).sum())
    return (centred @ (plane * signs)).float(), float(values[-2:].clamp(min=0).sum()) / total if total else 1.0
