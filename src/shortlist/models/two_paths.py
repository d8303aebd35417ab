"""NeuMF's scores of a batch of pairs with a gradient written by hand: half the time that operations one by one take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

NARROW = 16  # outputs of a layer below which its product is faster with the rows in columns


def two_path_scores(
    users: Tensor, items: Tensor, user: Tensor, item: Tensor, hidden: nn.Sequential, prediction: nn.Linear
) -> Tensor:
    """Raw scores (B, C) = prediction([p_u * q_i, hidden([p'_u, q'_i])]), whose gradient can be taken once.

    ``user`` (B,) and ``item`` (B, C) are rows of the tables ``users`` (U, F+D) and ``items`` (I, F+D) of [p, p'] and [q, q'];
    row 0, the unknown, has no gradient. ``hidden`` are linear layers and ReLU in turn.
    """
    layers = [each for layer in hidden if isinstance(layer, nn.Linear) for each in (layer.weight, layer.bias)]
    scores: Tensor = _TwoPaths.apply(  # type: ignore[no-untyped-call]
        users, items, user, item.contiguous(), prediction.weight, prediction.bias, *layers
    )
    return scores


class _TwoPaths(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        users: Tensor,
        items: Tensor,
        user: Tensor,
        item: Tensor,
        head: Tensor,
        bias: Tensor,
        first: Tensor,
        first_bias: Tensor,
        *layers: Tensor,
    ) -> Tensor:
        half = first.shape[1] // 2
        factors, flat = users.shape[1] - half, item.view(-1)  # R = B * C rows
        mine, left, right = users.index_select(0, user), first[:, :half], first[:, half:]
        if len(flat) > len(items):  # what the first layer makes of an item is computed once
            theirs = items
            product = items[:, :factors].contiguous().index_select(0, flat)
            state = (items[:, factors:] @ right.T).index_select(0, flat)
        else:
            theirs = items.index_select(0, flat)
            product = theirs[:, :factors]
            state = theirs[:, factors:] @ right.T
        product, shape = product.view(*item.shape, factors), (*item.shape, len(first))
        state.view(shape).add_(torch.addmm(first_bias, mine[:, factors:], left.T)[:, None])
        states = [state.relu_()]
        for weight, added in _pairs(layers):
            states.append(_layer(states[-1], weight, added).relu_())
        scores = torch.addmv(bias, states[-1], head[0, factors:]).view(item.shape)
        scores += torch.bmm(product, (mine[:, :factors] * head[:, :factors])[..., None]).squeeze(2)
        ctx.save_for_backward(users, items, user, flat, head, first, *layers)
        ctx.kept = mine, theirs, product, states
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        users, items, user, item, head, first, *layers = ctx.saved_tensors
        if ctx.kept is None:
            raise RuntimeError("The gradient of two_path_scores cannot be taken a second time.")
        (mine, theirs, product, states), ctx.kept = ctx.kept, None
        half, factors = first.shape[1] // 2, product.shape[2]
        left, right, slopes = first[:, :half], first[:, half:], slopes.contiguous()
        flat = slopes.view(-1)

        of_layers = list[Tensor]()
        of_state = torch.mul(flat[:, None], head[:, factors:], out=torch.empty_like(states[-1]))  # (R, …)
        of_head = states[-1].T @ flat
        for (weight, _), state, before in zip(
            reversed(list(_pairs(layers))), states[:0:-1], states[-2::-1], strict=True
        ):
            _through_relu(of_state, state)
            of_layers += [of_state.sum(0), of_state.T @ before]
            of_state = of_state @ weight
        _through_relu(of_state, states[0])  # (R, H)
        of_entered = of_state.view(len(user), -1, of_state.shape[1]).sum(1)  # (B, H)

        weighted, of_mine = mine[:, :factors] * head[:, :factors], torch.empty_like(mine)
        met = torch.bmm(slopes[:, None], product).squeeze(1)  # (B, F)
        torch.mul(met, head[:, :factors], out=of_mine[:, :factors])
        torch.mm(of_entered, left, out=of_mine[:, factors:])
        of_users = torch.zeros_like(users).index_add_(0, user, of_mine)
        of_head = torch.cat(((met * mine[:, :factors]).sum(0), of_head))[None]

        if theirs is items:
            of_product = (slopes[..., None] * weighted[:, None]).view(len(item), factors)
            order, counts = item.int().argsort(), torch.bincount(item, minlength=len(items))
            begins = counts.cumsum(0) - counts
            of_product, of_state = (_summed(each, order, begins) for each in (of_product, of_state))
            of_items = torch.cat((of_product, of_state @ right), dim=1)
        else:
            of_theirs = torch.empty_like(theirs)
            torch.mul(slopes[..., None], weighted[:, None], out=of_theirs.view(*slopes.shape, -1)[..., :factors])
            torch.mm(of_state, right, out=of_theirs[:, factors:])
            of_items = torch.zeros_like(items).index_add_(0, item, of_theirs)
        of_users[0], of_items[0] = 0, 0
        of_first = torch.cat((of_entered.T @ mine[:, factors:], of_state.T @ theirs[:, factors:]), dim=1)
        return (
            of_users,
            of_items,
            None,
            None,
            of_head,
            flat.sum()[None],
            of_first,
            of_entered.sum(0),
            *reversed(of_layers),
        )


def _pairs(layers: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """The weight and the bias of each layer."""
    return zip(layers[::2], layers[1::2], strict=True)


def _layer(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``rows`` (R, M) through a linear layer (R, N)."""
    if len(weight) < NARROW:
        return torch.addmm(bias[:, None], weight, rows.T).T
    return torch.addmm(bias, rows, weight.T)


def _through_relu(slopes: Tensor, state: Tensor) -> None:
    """Slopes at what ReLU made to slopes at what it was given."""
    torch.ops.aten.threshold_backward.grad_input(slopes, state, 0, grad_input=slopes)


def _summed(values: Tensor, order: Tensor, begins: Tensor) -> Tensor:
    """The sums (N, W) of groups of rows of ``values`` (R, W), each a span of ``order`` (R,): faster than index_add_ on many."""
    if not values.shape[1]:
        return values.new_zeros(len(begins), 0)
    return F.embedding_bag(order, values, begins, mode="sum")
