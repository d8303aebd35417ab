"""The recall asked for into the search settings that reach it with the least work, on queries held out for it.

It does not know which library searches: settings come as ladders, and a search is a function.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from shortlist.candidates import Candidates
from shortlist.errors import SettingsError, ShortlistWarning
from shortlist.index.measure import exact, recall, sample

TUNED_K = 100  # recall is tuned at this k
LARGEST_SEED = 2**31 - 1

Rung = TypeVar("Rung")


@dataclass(frozen=True, slots=True)
class Goal:
    """Queries with their true best rows, and the part of them that an average query must find."""

    queries: Tensor  # (Q, D)
    truth: Candidates  # "items" are rows, from 1
    k: int
    wanted: float

    @classmethod
    def of(cls, vectors: Tensor, *, queries: Tensor | None, wanted: float, seed: int) -> Goal:
        """Find ``wanted`` of the best of ``vectors`` (n, D) for half of the ``queries``, or of the vectors without any.

        The other half is for the report.
        """
        asked = (sample(vectors, seed=seed) if queries is None else queries)[::2]
        k = min(TUNED_K, len(vectors))
        return cls(asked, exact(torch.arange(1, len(vectors) + 1), vectors, queries=asked, k=k), k, wanted)

    def reached(self, scores: Tensor, rows: Tensor) -> tuple[float, bool]:
        """Recall of what was found (Q, k), and whether it is enough: by a standard error, so that it holds for others."""
        parts = recall(Candidates(rows + 1, scores), truth=self.truth)
        mean = float(parts.mean())
        return mean, mean - float(parts.std(correction=0)) / len(parts) ** 0.5 >= self.wanted


def cheapest(
    goal: Goal,
    ladders: Sequence[Sequence[Rung]],
    search: Callable[[Rung], tuple[Tensor, Tensor]],
    cost: Callable[[Rung], float],
) -> tuple[Rung, float | None]:
    """The settings of least ``cost`` with which ``search`` reaches the goal, and None; or the best, and their recall.

    On a ladder both recall and cost rise from rung to rung. Each is climbed only as far as it is cheaper than what
    another has reached.
    """
    best: Rung | None = None
    top: tuple[float, Rung] = (-1.0, ladders[0][-1])
    for ladder in ladders:
        rungs = [rung for rung in ladder if best is None or cost(rung) < cost(best)]
        low, high = 0, len(rungs) - 1
        while low <= high:
            middle = (low + high) // 2
            found, is_enough = goal.reached(*search(rungs[middle]))
            if found > top[0]:
                top = found, rungs[middle]
            if is_enough:
                best, high = rungs[middle], middle - 1
            else:
                low = middle + 1
    return (top[1], top[0]) if best is None else (best, None)


def warn_unreached(name: str, goal: Goal, reached: float, *, used: str, advice: str) -> None:
    """Say that the recall asked for is out of reach."""
    warnings.warn(
        f"{name} reached recall {reached:.3f} of the {goal.wanted} asked for, with {used}. {advice}, or use Exact.",
        ShortlistWarning,
        stacklevel=4,
    )


def ladder(low: int, high: int, *, factor: float = 1.25) -> list[int]:
    """Whole numbers from ``low`` to ``high``, each about ``factor`` times the one before.

    >>> ladder(4, 12)
    [4, 5, 6, 8, 10, 12]
    """
    rungs, step = [], float(low)
    while step < high:
        rungs.append(round(step))
        step = max(step * factor, rungs[-1] + 1)
    return [*rungs, high]


def check_settings(settings: object, *, recall: float, ranges: Mapping[str, tuple[int, int]]) -> None:
    """Refuse a recall out of range, and a setting that is neither None nor a whole number within its range."""
    name = type(settings).__name__
    if not 0 < recall < 1:
        raise SettingsError(f"{name}.recall is {recall!r}. It is above 0 and below 1; for all items use Exact.")
    for setting, (low, high) in ranges.items():
        value = getattr(settings, setting)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high):
            raise SettingsError(f"{name}.{setting} is {value!r}. It is a whole number from {low} to {high}.")
