"""How often items were recommended, wanted and met before to how much recommendations favour what is popular anyway."""

from __future__ import annotations

import torch
from torch import Tensor

from shortlist.evaluation.diagnosis import PopularityBias


def popularity_bias(*, shown: Tensor, held_out: Tensor, training: Tensor, k: int, deciles: int = 10) -> PopularityBias:
    """How often items were shown, held out and met in training, by how popular they are in training.

    All three (I+1,) count per item; index 0 counts nothing. ``shown`` are the recommendations in lists of ``k``. Equally
    popular items come in the order of their index.

    >>> counts = torch.tensor([0, 8, 1, 1])
    >>> bias = popularity_bias(shown=torch.tensor([0, 4, 0, 0]), held_out=counts, training=counts, k=1, deciles=3)
    >>> bias.shown, bias.held_out, round(bias.coverage, 2)
    ((1.0, 0.0, 0.0), (0.8, 0.1, 0.1), 0.33)
    """
    order = training[1:].argsort(descending=True, stable=True)
    parts = torch.tensor_split(order, deciles)

    def shares(counts: Tensor) -> tuple[float, ...]:
        own = counts[1:].double()
        return tuple(float(own[part].sum() / own.sum().clamp(min=1)) for part in parts)

    return PopularityBias(
        k=k,
        shown=shares(shown),
        held_out=shares(held_out),
        training=shares(training),
        coverage=float((shown[1:] > 0).double().mean()),
        gini_shown=gini(shown[1:]),
        gini_held_out=gini(held_out[1:]),
    )


def gini(counts: Tensor) -> float:
    """The Gini coefficient of counts (I,): 0 where all are equal, 1 - 1/I where one has everything; 0 of none.

    >>> gini(torch.tensor([2, 2])), gini(torch.tensor([0, 4]))
    (0.0, 0.5)
    """
    rising = counts.double().sort().values
    total, size = float(rising.sum()), len(rising)
    if total == 0:
        return 0.0
    places = torch.arange(1, size + 1, dtype=torch.float64)
    return float(2 * (places * rising).sum() / (size * total)) - (size + 1) / size
