"""Ranks of the targets to one figure per user: hit rate, recall, precision, NDCG, reciprocal rank, average precision.

It does not know who ranked or how users are averaged. All figures lie in [0, 1] and higher is better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shortlist.errors import SettingsError, nearest

ACCURACY = ("hr", "recall", "precision", "ndcg", "mrr", "map")
BEYOND_ACCURACY = ("coverage", "novelty", "diversity")
_ALIASES = {"hit_rate": "hr", "hit": "hr"}


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric over the first ``k`` answers, written ``name@k``."""

    name: str
    k: int

    def __str__(self) -> str:
        return f"{self.name}@{self.k}"

    @property
    def is_accuracy(self) -> bool:
        """Whether it compares the answer with the targets (else it only looks at the answer)."""
        return self.name in ACCURACY


def parse(text: str) -> Metric:
    """Read a metric's name and cut-off.

    Raises ``SettingsError`` for an unknown name, naming the known ones and the nearest, and for a missing cut-off.

    >>> str(parse("hit_rate@5"))
    'hr@5'
    """
    name, _, cut = text.strip().lower().partition("@")
    known = (*ACCURACY, *BEYOND_ACCURACY)
    if name not in known and name not in _ALIASES:
        raise SettingsError(
            f"Metric {text!r} is not known.{nearest(name, (*known, *_ALIASES))} Known: {', '.join(known)}."
        )
    if not cut.isdecimal() or int(cut) < 1:
        raise SettingsError(f"Metric {text!r} needs a cut-off of at least 1, as in '{name}@10'.")
    return Metric(_ALIASES.get(name, name), int(cut))


def parse_all(names: Sequence[str]) -> tuple[Metric, ...]:
    """Read several metrics; one that is named twice counts once."""
    if not names:
        raise SettingsError("No metric was asked for. Name at least one, such as 'ndcg@10'.")
    return tuple(dict.fromkeys(parse(name) for name in names))


def measure(metric: Metric, ranks: Tensor, num_targets: Tensor) -> Tensor:
    """The metric of each user, (B,) float64.

    ``ranks`` (B,S), S at least 1, are 0-based, ``inf`` where a target was not found or there is none; ``num_targets`` (B,) counts the
    targets R of each user. With a hit being a rank below ``k``:

    * ``hr`` (hit rate): 1 if there is a hit.
    * ``recall``: hits / R. ``precision``: hits / k, also for a list shorter than k.
    * ``ndcg``: sum of 1 / log2(rank + 2) over the hits, divided by the same for min(k, R) hits at the top
      (Järvelin and Kekäläinen, 2002, with binary gain).
    * ``mrr``: 1 / (rank + 1) of the first hit.
    * ``map``: sum of the precision at each hit, divided by R, as trec_eval has it. Other tools divide by min(k, R).

    A user without targets gets NaN.

    >>> measure(parse("ndcg@10"), torch.tensor([[0.0, torch.inf]]), torch.tensor([1])).tolist()
    [1.0]
    """
    hits = ranks < metric.k  # (B, S)
    count = num_targets.double()  # (B,)
    match metric.name:
        case "hr":
            figures = hits.any(1).double()
        case "recall":
            figures = hits.sum(1) / count
        case "precision":
            figures = hits.sum(1).double() / metric.k
        case "ndcg":
            figures = gains(ranks, k=metric.k).sum(1) / ideal_gain(metric.k, num_targets)
        case "mrr":
            figures = (1 / (ranks + 1)).masked_fill(~hits, 0.0).amax(1)
        case "map":
            ordered = ranks.sort(dim=1).values
            precision = torch.arange(1, ranks.shape[1] + 1) / (ordered + 1)
            figures = precision.masked_fill(ordered >= metric.k, 0.0).sum(1) / count
        case _:
            raise SettingsError(f"{metric} does not follow from ranks. Those that do: {', '.join(ACCURACY)}.")
    return figures.masked_fill(num_targets == 0, torch.nan)


def gains(ranks: Tensor, *, k: int) -> Tensor:
    """What each target of a rank (B,S) below ``k`` adds to the DCG."""
    return (1 / torch.log2(ranks + 2)).masked_fill(ranks >= k, 0.0)


def ideal_gain(k: int, num_targets: Tensor) -> Tensor:
    """The DCG of min(k, R) targets at the top of the list (B,)."""
    places = torch.arange(k, dtype=torch.float64)
    return gains(places, k=k).cumsum(0)[num_targets.clamp(1, k) - 1]
