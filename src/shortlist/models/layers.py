"""The building blocks that several networks share: id tables, perceptrons, and what evidence adds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from shortlist.models.dropout import Dropout
from shortlist.models.more import More, Place, nowhere
from shortlist.models.tracing import is_traced
from shortlist.rows import Tail


class Embedding(nn.Embedding):
    """``nn.Embedding`` whose dense gradient takes a quarter to half of the time on a CPU, and which grows without a copy.

    Rows of :meth:`add` have ids behind those of ``weight``. They are looked up and saved like the
    others; training learns of none but ``weight``.
    """

    def __init__(self, num_ids: int, width: int, *, padding_idx: int | None = None, sparse: bool = False) -> None:
        super().__init__(num_ids, width, padding_idx=padding_idx, sparse=sparse)
        self.added: Tail | None = None
        self.behind = num_ids  # rows of the weight before which, in the table as a whole, those that were added stand

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors (…, D) of ids (…)."""
        if self.added is not None:
            is_late = ids >= len(self.weight)
            if bool(is_late.any()):
                found = nn.functional.embedding(ids.masked_fill(is_late, 0), self.weight)
                found[is_late] = self.added.rows[ids[is_late] - len(self.weight)]
                return found
        if self.sparse or self.weight.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(ids)
        looked_up: Tensor = _Lookup.apply(self.weight, ids, self.padding_idx)  # type: ignore[no-untyped-call]
        return looked_up

    def whole(self) -> Tensor:
        """All rows in one piece."""
        if self.added is None:
            return self.weight
        return torch.cat((self.weight[: self.behind], self.added.rows, self.weight[self.behind :]))

    def add(self, rows: Tensor, *, behind: int) -> None:
        """Put ``rows`` (n, D) behind all others; in the table as a whole they stand before the row ``behind`` of the weight."""
        if len(rows):
            self.behind = behind
            self.added = (Tail(rows[:0]) if self.added is None else self.added).plus(rows)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Embedding:
        if self.added is not None:
            self.added = Tail(fn(self.added.rows))
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.added is not None:
            destination[f"{prefix}weight"] = self.whole().detach()


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor, padding: int | None) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.rows, ctx.padding = len(table), padding
        return nn.functional.embedding(ids, table)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (ids,) = ctx.saved_tensors
        whole = gradient.new_zeros(ctx.rows, gradient.shape[-1])
        whole.index_add_(0, ids.flatten().long(), gradient.reshape(-1, gradient.shape[-1]))
        if ctx.padding is not None:
            whole[ctx.padding] = 0
        return whole, None, None


class Table(nn.Module):
    """One vector for each id; row 0 (unknown, padding) is zero and stays zero.

    Everything that reads an id table does it through here, so that a table can be sharded in one place.
    """

    def __init__(
        self,
        num_ids: int,
        width: int,
        *,
        std: float | None,
        sparse: bool = False,
        owner: Literal["user", "item"] = "item",
    ) -> None:
        """Draws the vectors from a normal distribution, or with ``std`` None from Glorot & Bengio's uniform one.

        ``owner`` says whose ids they are. With ``sparse`` the gradient holds only the rows that were looked up, which Adagrad and SGD take.
        """
        super().__init__()
        self.owner = owner
        self.embedding = Embedding(num_ids + 1, width, padding_idx=0, sparse=sparse)
        with torch.no_grad():
            if std is None:
                nn.init.xavier_uniform_(self.embedding.weight)
            else:
                self.embedding.weight.normal_(std=std)
            self.embedding.weight[0] = 0

    @property
    def width(self) -> int:
        """Numbers in one vector (D)."""
        return self.embedding.embedding_dim

    def lookup(self, ids: Tensor) -> Tensor:
        """Vectors (…, D) of ids (…)."""
        found: Tensor = self.embedding(ids)
        return found

    def lookup_all(self, *ids: Tensor) -> list[Tensor]:
        """Vectors (…, D) of each of several tensors of ids (…), read at once: the table gets one gradient, not several."""
        found = self.lookup(torch.cat([each.flatten() for each in ids]))
        parts = torch.split(found, [each.numel() for each in ids])
        return [part.view(*each.shape, self.width) for part, each in zip(parts, ids, strict=True)]

    @property
    def has_grown(self) -> bool:
        """Whether there are vectors of ids that came after training."""
        return self.embedding.added is not None

    def all(self) -> Tensor:
        """The vectors (I, D) of the ids 1 … I: what a softmax over everything compares with."""
        return self.embedding.whole()[1:]

    def forget(self, ids: Tensor) -> None:
        """Make ids (N,) as good as unknown: nothing will be learnt of them."""
        with torch.no_grad():
            self.embedding.weight[ids] = 0

    def grow_by(self, more: More, place: Place) -> None:
        """Hold vectors of new ids: of items those that ``place`` finds, of users 0."""
        weight = self.embedding.weight.detach()
        rows = place(weight, more.items) if self.owner == "item" else nowhere(weight, more.users)
        self.embedding.add(rows, behind=len(weight))

    def knows(self, ids: Tensor) -> Tensor:
        """Which ids (B,) are neither unknown nor forgotten."""
        return (self.lookup(ids).detach() != 0).any(dim=1)

    def pool(self, ids: Tensor, weights: Tensor) -> Tensor:
        """The weighted sum (B, D) of the vectors of ids (B, T), with weights (B, T)."""
        if ids.shape[1] == 0:
            return weights.new_zeros(len(ids), self.width)
        if is_traced():  # ONNX has no bags
            return torch.bmm(weights[:, None], self.lookup(ids)).squeeze(1)
        table: Tensor = self.embedding.weight
        if self.embedding.added is not None and bool((ids >= len(table)).any()):  # those at hand as an own table
            distinct, places = torch.unique(torch.cat((ids.new_zeros(1), ids.flatten())), return_inverse=True)
            table, ids = self.lookup(distinct), places[1:].view(ids.shape)
        return nn.functional.embedding_bag(
            ids,
            table,
            mode="sum",
            per_sample_weights=weights.to(table.dtype),
            padding_idx=0,
            sparse=self.embedding.sparse,
        )


def linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """A linear layer with Glorot-uniform weights and zero biases."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def mlp(
    widths: Sequence[int], *, last_activation: bool = False, batch_norm: bool = False, dropout: float = 0.0
) -> nn.Sequential:
    """Linear layers ``widths[0] -> … -> widths[-1]`` with ReLU between them (Glorot-uniform weights, zero biases).

    Each hidden layer is normalised over the batch before its ReLU, and dropped out after it, if asked.
    """
    layers: list[nn.Module] = []
    for position, (inputs, outputs) in enumerate(pairwise(widths), start=1):
        layers.append(linear(inputs, outputs))
        if last_activation or position < len(widths) - 1:
            if batch_norm:
                layers.append(RowNorm(outputs))
            layers.append(nn.ReLU())
            if dropout:
                layers.append(Dropout(dropout))
    return nn.Sequential(*layers)


class RowNorm(nn.BatchNorm1d):
    """Batch normalisation of the last axis, whatever the axes before it (…, D)."""

    def forward(self, values: Tensor) -> Tensor:
        """The same shape, each number normalised over all rows."""
        return super().forward(values.flatten(0, -2)).view(values.shape)


def side_by_side(layers: nn.Sequential, left: Tensor, right: Tensor | None) -> Tensor:
    """The perceptron ``layers`` over each request's vector (B, L) beside each of its candidates' (B, C, R).

    The left part of the first layer is computed once a request. Without a right part there is one row for it (B, 1, …).
    """
    first, width = layers[0], left.shape[1]
    assert isinstance(first, nn.Linear)
    values = nn.functional.linear(left, first.weight[:, :width], first.bias)[:, None]  # (B, 1, H)
    if right is not None:
        values = values + nn.functional.linear(right, first.weight[:, width:])
    for layer in list(layers)[1:]:
        values = layer(values)
    return values


class EvidenceHead(nn.Module):
    """What the retrievers thought of a candidate, as one more logit.

    Per source the evidence holds its score and its rank (0 = best), and where there are several sources whether it found
    the candidate. Scores are standardised within the request's candidates, so that retrievers of any scale look alike;
    ranks enter as 1 / log2(rank + 2).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1, bias=False)
        self.each = 2 if width == 2 else 3  # numbers of a source
        with torch.no_grad():  # begin with the retrievers' order
            self.linear.weight.copy_(torch.eye(1, self.each).repeat(1, width // self.each))

    def forward(self, evidence: Tensor, valid: Tensor) -> Tensor:
        """Logits (B, C) from evidence (B, C, E) of the candidates that ``valid`` (B, C) marks."""
        scores, ranks, *flags = (evidence[..., kind :: self.each] for kind in range(self.each))
        empty = ~valid[..., None]  # (B, C, 1)
        count = valid.sum(1).clamp(min=1)[:, None, None]
        scores = scores.masked_fill(empty, 0)
        centred = (scores - scores.sum(1, keepdim=True) / count).masked_fill(empty, 0)
        spread = torch.linalg.vector_norm(centred, dim=1, keepdim=True) / count.sqrt()
        standardised = centred / spread.clamp(min=1e-6)
        discounts = torch.log2(ranks + 2).reciprocal()
        logits: Tensor = self.linear(torch.stack((standardised, discounts, *flags), dim=-1).flatten(2))
        return logits.squeeze(-1)
