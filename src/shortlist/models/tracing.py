"""Whether a network computes, or is being written down as a graph."""

from __future__ import annotations

import torch


def is_traced() -> bool:
    """Whether the operations are being written down, to be repeated with other values: no step may depend on those at hand."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
