"""Implicit matrix factorisation: all likes at once into item factors; a user is folded in from the history.

Hu, Koren, Volinsky (2008), with the regularisation and the weight of the unobserved as in Rendle, Krichene, Zhang,
Koren, "Revisiting the Performance of iALS on Item Recommendation Benchmarks" (2021). It knows no ratings and no event
weights: a user likes an item or not, however often.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from shortlist.contracts import Catalogue, Interactions, Ragged, Requests
from shortlist.errors import TrainingError, check_ranges
from shortlist.features import running_total
from shortlist.models.more import More, Place

_FLOATS_AT_ONCE = 1 << 21  # of gathered factors: 8 MB stay in the processor's cache
_PADDING_FROM = 0.8  # rows this much shorter than a batch's longest wait for the next batch


@dataclass(frozen=True, slots=True)
class ALS:
    """Settings of implicit alternating least squares.

    It minimises, over users u and items i with factors x and y,
    ``sum_liked (1 - x·y)² + unobserved_weight * sum_all (x·y)² + sum_u r_u |x_u|² + sum_i r_i |y_i|²``, where
    ``r_u = regularization * (likes of u + unobserved_weight * num_items) ** frequency_scaling``, and the same for
    items with users. ``init_stddev`` is that of a factor vector's length: each number has init_stddev / sqrt(D).
    ``history`` is how many of a user's latest events a request should carry: all of them to tell what a user likes at
    large, 10 to 20 to tell what comes next.

    >>> network = ALS(embedding_dim=2).build(Catalogue(num_users=2, num_items=3))
    >>> network.solve(Interactions(torch.tensor([0, 0, 2, 3]), torch.tensor([1, 2, 3]), num_items=3))
    >>> scores = network.embed_requests(Requests(history=torch.tensor([[2]]))) @ network.embed_items(torch.arange(1, 4)).T
    >>> bool(scores[0, 0] > scores[0, 2])  # item 2 was liked with 1, never with 3
    True
    """

    embedding_dim: int = 64
    regularization: float = 0.007
    unobserved_weight: float = 0.3
    iterations: int = 12
    init_stddev: float = 0.1
    frequency_scaling: float = 1.0
    history: int = 500

    recommended: ClassVar[Mapping[str, Any]] = {}

    def __post_init__(self) -> None:
        check_ranges(
            self,
            whole=("embedding_dim", "iterations", "history"),
            above_0=("regularization", "init_stddev"),
            from_0=("unobserved_weight", "frequency_scaling"),
        )

    @property
    def sampling(self) -> None:
        """None: the model is solved, not trained on examples."""
        return

    def build(self, catalogue: Catalogue) -> ALSNetwork:
        """The network with random item factors, drawn from torch's generator."""
        return ALSNetwork(self, catalogue)


class ALSNetwork(nn.Module):
    """Item factors ``y``; a request's vector is the least-squares answer to its history.

    So users who came after training are served, and a user's newest events count at once.
    """

    item_factors: Tensor  # (I+1, D), row 0 and items without likes are 0
    gram: Tensor  # (D, D), the sum of all y yᵀ

    def __init__(self, settings: ALS, catalogue: Catalogue) -> None:
        super().__init__()
        self.settings = settings
        width = settings.embedding_dim
        factors = torch.empty(catalogue.num_items + 1, width).normal_(std=settings.init_stddev / width**0.5)
        factors[0] = 0
        self.register_buffer("item_factors", factors)
        self.register_buffer("gram", torch.zeros(width, width))

    def solve(self, interactions: Interactions, /) -> None:
        """Run ``iterations`` rounds, users first, then items, on from the item factors as they stand.

        Raises :class:`TrainingError` if no event is positive, or if the equations are too close to singular.
        """
        device = self.item_factors.device
        liked = interactions.positives()
        users, items = _distinct(liked.rows().to(device), liked.items.long().to(device), interactions.num_items + 1)
        if not len(items):
            raise TrainingError("ALS: there are no positive events to learn from. Check schema.positive and the split.")
        by_user = _group(users, items, interactions.num_rows)
        by_item = _group(items, users, interactions.num_items + 1)
        torch.mm(self.item_factors.T, self.item_factors, out=self.gram)
        for _ in range(self.settings.iterations):
            user_factors = self._answer(by_user, self.item_factors, self.gram)
            self.item_factors.copy_(self._answer(by_item, user_factors, user_factors.T @ user_factors))
            torch.mm(self.item_factors.T, self.item_factors, out=self.gram)

    def grow_by(self, more: More, place: Place) -> None:
        """Give new items the factors that ``place`` finds."""
        self.item_factors = torch.cat((self.item_factors, place(self.item_factors, more.items)))

    def embed_requests(self, requests: Requests, /) -> Tensor:
        """Fold in: the vectors (B, D) that minimise the loss for the histories, 0 where nothing is known."""
        if requests.history is None:
            return self.item_factors.new_zeros(len(requests), self.settings.embedding_dim)
        rows, steps = requests.history.nonzero(as_tuple=True)
        rows, items = _distinct(rows, requests.history[rows, steps], len(self.item_factors))
        return self._answer(_group(rows, items, len(requests)), self.item_factors, self.gram)

    def embed_items(self, items: Tensor, /) -> Tensor:
        """The factors (…, D) of ``items``."""
        return self.item_factors[items]

    def can_serve(self, requests: Requests, /) -> Tensor:
        """Whether each history (B,) has an item that somebody liked in training."""
        if requests.history is None:
            return torch.zeros(len(requests), dtype=torch.bool, device=self.item_factors.device)
        return self.item_factors[requests.history].any(2).any(1)

    def _answer(self, liked: Ragged, factors: Tensor, gram: Tensor) -> Tensor:
        """Solve one side (R, D), given the other side's ``factors`` and their ``gram``; a row that likes nothing is 0."""
        settings = self.settings
        lengths = liked.offsets.diff()
        prior = settings.unobserved_weight * gram
        size = lengths + settings.unobserved_weight * (len(factors) - 1)
        strength = settings.regularization * size**settings.frequency_scaling  # (R,)
        answer = factors.new_zeros(len(liked), factors.shape[1])
        for rows in _similar(lengths, most=_FLOATS_AT_ONCE // factors.shape[1]):
            answer[rows] = _least_squares(_padded(liked, rows, lengths[rows]), factors, prior, strength[rows])
        return answer


def _least_squares(liked: Tensor, factors: Tensor, prior: Tensor, strength: Tensor) -> Tensor:
    """Solve ``(sum v vᵀ + prior + strength I) x = sum v`` over each row's ``liked`` (b, L), padded with 0 -> (b, D)."""
    width = factors.shape[1]
    system = prior.repeat(len(liked), 1, 1)  # (b, D, D)
    target = factors.new_zeros(len(liked), width, 1)
    for part in torch.split(liked, _FLOATS_AT_ONCE // width + 1, dim=1):
        vectors = functional.embedding(part, factors)  # (b, L, D); item 0's is 0 and adds nothing
        system.baddbmm_(vectors.mT, vectors)
        target += vectors.sum(1)[..., None]
    system.diagonal(dim1=1, dim2=2).add_(strength[:, None].to(system.dtype))
    triangle, failed = torch.linalg.cholesky_ex(system)
    if not failed.any():
        return torch.cholesky_solve(target, triangle)[..., 0]
    if factors.dtype == torch.float64:
        raise TrainingError(
            f"ALS: the equations of {int((failed != 0).sum())} of {len(liked)} rows are singular. Raise regularization."
        )
    return _least_squares(liked, factors.double(), prior.double(), strength.double()).to(factors.dtype)


def _similar(lengths: Tensor, *, most: int) -> Iterator[Tensor]:
    """Batches of row numbers of nearly equal length, the longest first, each of about ``most`` entries; no empty rows."""
    ordered, order = torch.sort(lengths, descending=True)
    falling = -ordered
    stop, start = int(torch.searchsorted(falling, 0)), 0
    while start < stop:
        longest = int(ordered[start])
        end = int(torch.searchsorted(falling, int(-_PADDING_FROM * longest), right=True))
        end = min(end, stop, start + max(1, most // longest))
        yield order[start:end]
        start = end


def _padded(liked: Ragged, rows: Tensor, lengths: Tensor) -> Tensor:
    """The values of ``rows`` (b,) as a table (b, L), padded with 0."""
    steps = torch.arange(int(lengths.max()), device=rows.device)
    inside = steps < lengths[:, None]  # (b, L)
    return torch.where(inside, liked.values[torch.where(inside, liked.offsets[rows, None] + steps, 0)], 0)


def _distinct(rows: Tensor, columns: Tensor, num_columns: int) -> tuple[Tensor, Tensor]:
    """The pairs that occur, each once, sorted; column 0 (unknown) left out."""
    pairs = torch.unique(rows * num_columns + columns)
    rows, columns = pairs // num_columns, pairs % num_columns
    return rows[columns > 0], columns[columns > 0]


def _group(rows: Tensor, values: Tensor, num_rows: int) -> Ragged:
    """``values`` (M,) gathered by their ``rows`` (M,)."""
    return Ragged(values[torch.argsort(rows, stable=True)], running_total(torch.bincount(rows, minlength=num_rows)))
