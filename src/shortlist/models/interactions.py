"""How field vectors meet: what a factorisation machine reads of them, and the dot products of all pairs.

Both make one gradient of the vectors, where autograd by itself would make several and add them.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

FEW = 10  # pairs up to which their products are made one by one in SharedProducts


class Terms(NamedTuple):
    """Of vectors v (…, F, D) with weights w (…, F): all numbers of v side by side, w, and sums over the fields."""

    deep: Tensor  # (…, F * D), in autocast's type where that is on
    first: Tensor  # (…, F)
    total: Tensor  # (…, D) sum of v
    squares: Tensor  # (…, D) sum of v²

    def of_each_item(self) -> Terms:
        """The terms of requests (B, …) as (B, 1, …), to meet those of their items (B, C, …)."""
        return Terms(*(part[:, None] for part in self))


def field_terms(vectors: Tensor) -> Terms:
    """The terms of vectors (…, F, D+1) that carry their first-order weight behind them.

    The second order is ``(total² - squares) / 2`` (Rendle 2010, "Factorization machines", lemma 3.1).
    """
    if not torch.is_grad_enabled():
        return Terms(*_terms(vectors))
    return Terms(*cast("tuple[Tensor, ...]", _Terms.apply(vectors)))  # type: ignore[no-untyped-call]


class PairProducts(nn.Module):
    """The dot products of all pairs of F vectors: those of i with j < i row by row, with ``itself`` also j = i."""

    pairs: Tensor  # (P,) where each pair's product lies among those of all with all
    pair_of: Tensor  # (F * F,) the pair of each product, P where it is none

    def __init__(self, num_vectors: int, *, itself: bool) -> None:
        super().__init__()
        row, column = torch.tril_indices(num_vectors, num_vectors, offset=0 if itself else -1)
        pair_of = torch.full((num_vectors, num_vectors), len(row))
        pair_of[row, column] = pair_of[column, row] = torch.arange(len(row))
        self.register_buffer("pairs", row * num_vectors + column, persistent=False)
        self.register_buffer("pair_of", pair_of.flatten(), persistent=False)

    def __len__(self) -> int:
        return len(self.pairs)

    def forward(self, vectors: Tensor) -> Tensor:
        """Products (N, P) of vectors (N, F, D), in autocast's type where that is on."""
        if torch.is_grad_enabled():
            return cast("Tensor", _Products.apply(_autocast(vectors), self.pairs, self.pair_of))  # type: ignore[no-untyped-call]
        return _products(_autocast(vectors), self.pairs)


class SharedProducts(nn.Module):
    """The same products where the items of a request share some of the vectors, in another order and without gradients.

    Of F vectors the places ``shared`` are the request's. These meet an item's own in one matrix product for all items, and each
    other once.
    """

    order: Tensor  # (P,) which of PairProducts' columns each of these is

    def __init__(self, num_vectors: int, shared: range, *, itself: bool) -> None:
        super().__init__()
        own = [place for place in range(num_vectors) if place not in shared]
        self.own, self.shared = PairProducts(len(own), itself=itself), PairProducts(len(shared), itself=itself)
        self.own_pairs = [(i, j) for i in range(len(own)) for j in range(i + itself)]
        met = [(mine, theirs) for mine in own for theirs in shared]
        met += [(own[i], own[j]) for i, j in self.own_pairs]
        met += [(shared[i], shared[j]) for i in range(len(shared)) for j in range(i + itself)]
        rows = [(max(pair), min(pair)) for pair in met]
        order = torch.tensor([row * (row + (1 if itself else -1)) // 2 + column for row, column in rows])
        self.register_buffer("order", order, persistent=False)

    def forward(self, own: Tensor, shared: Tensor) -> Tensor:
        """Products (B, C, P) of the items' own vectors (B, C, F', D) and their request's (B, F'', D)."""
        shape = own.shape[:2]
        met = torch.matmul(own.flatten(1, 2), shared.transpose(1, 2))  # (B, C * F', F'')
        parts = [met.view(*shape, own.shape[2] * shared.shape[1])]
        if 0 < len(self.own_pairs) <= FEW:
            vectors = own.unbind(2)
            parts.append(torch.stack([(vectors[i] * vectors[j]).sum(2) for i, j in self.own_pairs], dim=2))
        elif self.own_pairs:
            parts.append(self.own(own.flatten(0, 1)).view(*shape, len(self.own)))
        if len(self.shared):
            parts.append(self.shared(shared)[:, None].expand(-1, own.shape[1], -1))
        return torch.cat(parts, dim=2)


def _autocast(values: Tensor) -> Tensor:
    device = values.device.type
    return values.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else values


def _products(vectors: Tensor, pairs: Tensor) -> Tensor:
    products = torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1)
    return products.gather(1, pairs.expand(vectors.shape[0], -1))  # index_select takes six times as long


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, pairs: Tensor, pair_of: Tensor) -> Tensor:
        ctx.save_for_backward(vectors, pair_of)
        return _products(vectors, pairs)

    @staticmethod
    def backward(ctx: Any, products: Tensor) -> tuple[Tensor, None, None]:
        vectors, pair_of = ctx.saved_tensors
        rows, num, _ = vectors.shape
        padded = torch.cat((products, products.new_zeros(rows, 1)), dim=1)
        weights = padded.gather(1, pair_of.expand(rows, -1)).view(rows, num, num)
        weights.diagonal(dim1=1, dim2=2).mul_(2)
        return torch.bmm(weights, vectors), None, None


def _terms(vectors: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    known = vectors[..., :-1]
    return _autocast(known).flatten(-2), vectors[..., -1].clone(), known.sum(-2), known.square().sum(-2)


class _Terms(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ctx.save_for_backward(vectors)
        return _terms(vectors)

    @staticmethod
    def backward(ctx: Any, deep: Tensor, first: Tensor, total: Tensor, squares: Tensor) -> Tensor:
        (vectors,) = ctx.saved_tensors
        gradient = torch.empty_like(vectors)
        known = gradient[..., :-1]
        known.copy_(deep.view(known.shape))
        known.addcmul_(vectors[..., :-1], squares[..., None, :], value=2)
        known.add_(total[..., None, :])
        gradient[..., -1] = first
        return gradient
