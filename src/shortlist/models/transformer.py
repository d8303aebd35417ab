"""Causal transformer blocks: the states of a sequence's steps into states that know the steps before.

Sequences are padded on the right, so that no step ever attends to padding and the causal mask is the only one.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shortlist.models.dropout import Dropout
from shortlist.models.layers import linear
from shortlist.models.sequences import LastSteps

Block = Literal["authors", "pre_ln", "ligr"]


class CausalAttention(nn.Module):
    """Scaled dot-product attention of each step over itself and the steps before (Vaswani et al. 2017, section 3.2).

    Keys have no bias: it would add the same to all logits of a query, which the softmax takes away again.
    """

    def __init__(self, width: int, num_heads: int, dropout: float, *, output: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = linear(width, width)
        self.key = linear(width, width, bias=False)
        self.value = linear(width, width)
        self.output = linear(width, width) if output else None
        self.dropout = Dropout(dropout)

    def forward(self, queries: Tensor, memory: Tensor, last: LastSteps | None = None) -> Tensor:
        """What each of ``queries`` (B, T, D) finds in ``memory`` (B, T, D) up to its own step.

        With ``last`` there is one query (B, 1, D) a sequence, that of its last step.
        """
        found = self._of_all(queries, memory) if last is None else self._of_last(queries, memory, last)
        return found if self.output is None else self.output(found)

    def _of_all(self, queries: Tensor, memory: Tensor) -> Tensor:
        query, key, value = (
            self._heads(part) for part in (self.query(queries), self.key(memory), self.value(memory))
        )  # (B, H, T, D/H)
        if self.training:
            found = self._attend(query, key, value)
        else:
            found = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return found.transpose(1, 2).flatten(2)

    def _of_last(self, queries: Tensor, memory: Tensor, last: LastSteps) -> Tensor:
        """The same for one query (B, 1, D) each, without keys and values of all steps.

        A query q meets a step's key ``K x`` as ``Kᵀ q`` meets x, and the mean of values ``V x`` is V of the mean.
        """
        rows, _, width = queries.shape
        heads, size = self.num_heads, width // self.num_heads
        query = self.query(queries).view(rows, heads, size).transpose(0, 1)  # (H, B, D/H)
        asked = torch.bmm(query, self.key.weight.view(heads, size, width)).transpose(0, 1)  # (B, H, D)
        logits = torch.bmm(asked, memory.transpose(1, 2)) * size**-0.5  # (B, H, T)
        if last.after is not None:
            logits = logits.masked_fill(last.after[:, None], -torch.inf)
        mean = torch.bmm(torch.softmax(logits, dim=2), memory).transpose(0, 1)  # (H, B, D)
        found = torch.bmm(mean, self.value.weight.view(heads, size, width).transpose(1, 2))  # (H, B, D/H)
        return found.transpose(0, 1).reshape(rows, 1, width) + self.value.bias

    def _heads(self, states: Tensor) -> Tensor:
        size = states.shape[2] // self.num_heads
        return states.view(*states.shape[:2], self.num_heads, size).transpose(1, 2)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The same in three steps: on a CPU faster than the fused one in bfloat16, and with dropout."""
        steps, size = query.shape[2:]
        query, key, value = (part.reshape(-1, steps, size) for part in (query, key, value))
        mask = torch.full((steps, steps), -torch.inf, dtype=query.dtype, device=query.device).triu(1)
        logits = torch.baddbmm(mask.expand(len(query), -1, -1), query, key.transpose(1, 2), alpha=size**-0.5)
        found = torch.bmm(self.dropout(torch.softmax(logits, dim=2)), value)
        return found.view(-1, self.num_heads, steps, size)


class AuthorsBlock(nn.Module):
    """The block of SASRec's authors (github.com/kang205/SASRec), which differs from its paper and from most copies.

    Queries come from the normalised states, keys and values from the raw ones; the residual adds to the *normalised*
    states; attention has no output projection; the feed-forward part is as wide as the model.
    """

    def __init__(self, width: int, num_heads: int, dropout: float, *, epsilon: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=epsilon)
        self.attention = CausalAttention(width, num_heads, dropout, output=False)
        self.feed_norm = nn.LayerNorm(width, eps=epsilon)
        self.inner, self.outer = linear(width, width), linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(self, states: Tensor, last: LastSteps | None = None) -> Tensor:
        """States (B, T, D), or with ``last`` those of the last steps alone (B, 1, D)."""
        queries = self.attention_norm(states if last is None else last.take(states))
        states = self.feed_norm(queries + self.attention(queries, states, last))
        fed: Tensor = self.dropout(self.outer(self.dropout(torch.relu(self.inner(states)))))
        return states + fed


class PreNormBlock(nn.Module):
    """The usual block with normalisation before each part and GELU (Xiong et al. 2020)."""

    def __init__(self, width: int, num_heads: int, dropout: float, *, epsilon: float, multiple: int = 4) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=epsilon)
        self.attention = CausalAttention(width, num_heads, dropout, output=True)
        self.feed_norm = nn.LayerNorm(width, eps=epsilon)
        self.inner, self.outer = linear(width, multiple * width), linear(multiple * width, width)
        self.dropout = Dropout(dropout)

    def forward(self, states: Tensor, last: LastSteps | None = None) -> Tensor:
        """States (B, T, D), or with ``last`` those of the last steps alone (B, 1, D)."""
        normal = queries = self.attention_norm(states)
        if last is not None:
            states, queries = last.take(states), last.take(normal)
        states = states + self.dropout(self.attention(queries, normal, last))
        fed: Tensor = self.dropout(self.outer(self.dropout(F.gelu(self.inner(self.feed_norm(states))))))
        return states + fed


class LiGRBlock(nn.Module):
    """A pre-norm block with gated residuals and SwiGLU (LiGR: Borisyuk et al. 2025; in SASRec: Tikhonovich et al. 2025).

    ``y = x + sigmoid(W x) * dropout(f(norm(x)))`` for attention and then for the feed-forward part.
    """

    def __init__(self, width: int, num_heads: int, dropout: float, *, epsilon: float, multiple: int = 4) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=epsilon)
        self.attention = CausalAttention(width, num_heads, dropout, output=True)
        self.attention_gate = linear(width, width)
        self.feed_norm = nn.LayerNorm(width, eps=epsilon)
        self.gated = linear(width, 2 * multiple * width, bias=False)
        self.outer = linear(multiple * width, width, bias=False)
        self.feed_gate = linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(self, states: Tensor, last: LastSteps | None = None) -> Tensor:
        """States (B, T, D), or with ``last`` those of the last steps alone (B, 1, D)."""
        normal = queries = self.attention_norm(states)
        if last is not None:
            states, queries = last.take(states), last.take(normal)
        attended = self.dropout(self.attention(queries, normal, last))
        states = states + torch.sigmoid(self.attention_gate(states)) * attended
        left, right = self.gated(self.feed_norm(states)).chunk(2, dim=2)
        fed: Tensor = self.dropout(self.outer(F.silu(left) * right))
        return states + torch.sigmoid(self.feed_gate(states)) * fed


BLOCKS: dict[str, type[AuthorsBlock] | type[PreNormBlock] | type[LiGRBlock]] = {
    "authors": AuthorsBlock,
    "pre_ln": PreNormBlock,
    "ligr": LiGRBlock,
}
