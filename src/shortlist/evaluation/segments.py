"""Users by what is known of them and items by how popular they are, to the groups a report tells apart."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

USER_SEGMENTS: Mapping[str, str] = MappingProxyType(
    {
        "new": "no known event",
        "occasional": "1 to 20 known events",
        "heavy": "more than 20 known events",
    }
)
ITEM_SEGMENTS: Mapping[str, str] = MappingProxyType(
    {
        "head": "top half of training events",
        "tail": "other half of training events",
        "cold": "no training event",
    }
)


def user_segments(history_size: Tensor) -> dict[str, Tensor]:
    """Which users (B,) belong to each segment, by how many events are known of them.

    >>> {name: which.tolist() for name, which in user_segments(torch.tensor([0, 20, 21])).items()}
    {'new': [True, False, False], 'occasional': [False, True, False], 'heavy': [False, False, True]}
    """
    few = (history_size > 0) & (history_size <= 20)
    return {"new": history_size <= 0, "occasional": few, "heavy": history_size > 20}


def item_segments(item_counts: Tensor) -> dict[str, Tensor]:
    """Which items (I+1,) belong to each segment, by their training events; index 0 belongs to none.

    The head is the fewest items that together hold at least half of the events; equally popular items enter it by index.

    >>> {name: which.nonzero().ravel().tolist() for name, which in item_segments(torch.tensor([0, 1, 4, 0, 3])).items()}
    {'head': [2], 'tail': [1, 4], 'cold': [3]}
    """
    counts = item_counts.long().clone()
    counts[0] = 0
    ordered, order = counts.sort(descending=True, stable=True)
    before = ordered.cumsum(0) - ordered
    head = torch.empty_like(counts, dtype=torch.bool).scatter_(0, order, 2 * before < counts.sum()) & (counts > 0)
    real = torch.arange(len(counts)) > 0
    return {"head": head, "tail": (counts > 0) & ~head, "cold": (counts == 0) & real}
