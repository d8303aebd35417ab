"""DeepFM: a factorisation machine and a perceptron over the same field vectors.

Guo et al. 2017, "DeepFM: a factorization-machine based neural network for CTR prediction"; training details that have
paid on public data follow FuxiCTR's benchmarks (Zhu et al. 2022, "BARS").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from shortlist.contracts import Candidates, Catalogue, Examples, Requests, Sampling
from shortlist.errors import SettingsError, check_choices, check_ranges
from shortlist.models.fields import Fields
from shortlist.models.interactions import Terms, field_terms
from shortlist.models.layers import EvidenceHead, mlp
from shortlist.models.ranking import FIELD_ROWS, RankingLoss, ranked_rows, ranker_sampling, ranking_loss, with_evidence

Head = Literal["sum", "project"]


@dataclass(frozen=True, slots=True)
class DeepFM:
    """Settings of DeepFM.

    ``hidden`` are the perceptron's layers, each with ``batch_norm`` and ``dropout`` if asked. ``head="sum"`` adds the
    first order, the second order and the perceptron's output, as in the paper; ``"project"`` learns a linear layer over
    the first order of each field, the second order before it is summed, and the perceptron's last hidden layer.
    ``embedding_l2`` adds half of it times the squared length of the whole embedding table to the loss of every step.
    It learns from labels where the data has them, else from ``negatives`` sampled for each positive; ``loss`` as in
    NeuMF. ``sparse`` gradients hold only the rows that a batch meets, for Adagrad: faster where tables are large.
    Of columns that the schema crosses it gets two numbers each: how training's events of the combination were labelled.
    """

    embedding_dim: int = 10
    hidden: tuple[int, ...] = (400, 400, 400)
    dropout: float = 0.0
    batch_norm: bool = False
    head: Head = "sum"
    embedding_l2: float = 0.0
    loss: RankingLoss = "bce"
    negatives: int = 4
    init_std: float = 1e-4
    sparse: bool = False

    recommended: ClassVar[Mapping[str, Any]] = {"learning_rate": 1e-3, "batch_size": 4096}

    def __post_init__(self) -> None:
        check_ranges(self, whole=("embedding_dim",), shares=("dropout",), from_0=("embedding_l2",))
        if not isinstance(self.hidden, tuple) or not self.hidden or min(self.hidden) < 1:
            raise SettingsError(
                f"DeepFM.hidden is {self.hidden}. It is a tuple of each hidden layer's width, such as (400, 400, 400)."
            )
        if self.sparse and self.embedding_l2:
            raise SettingsError(
                "DeepFM.sparse touches only a batch's rows, and embedding_l2 all of them. Leave one out."
            )
        check_choices(self, {"head": Head, "loss": RankingLoss})

    @property
    def sampling(self) -> Sampling:
        """Labels, pairs with negatives, or ratings."""
        return ranker_sampling(self.loss, negatives=self.negatives)

    def build(self, catalogue: Catalogue) -> nn.Module:
        """The network, freshly initialised."""
        return DeepFMNetwork(self, catalogue)


class DeepFMNetwork(nn.Module):
    """y = b + sum_i w_i x_i + 1/2 sum_k ((sum_f v_fk)^2 - sum_f v_fk^2) + MLP(v_1, …, v_F), over ids and numbers.

    A number is a field whose vector is its value times a learnt one. Vectors carry their first-order weight behind them.
    """

    link: Literal["sigmoid", "identity"]
    axes: ClassVar[Mapping[str, str]] = FIELD_ROWS

    def __init__(self, settings: DeepFM, catalogue: Catalogue) -> None:
        super().__init__()
        self.settings = settings
        self.link = "identity" if settings.loss == "mse" else "sigmoid"
        width = settings.embedding_dim
        init = partial(nn.init.normal_, std=settings.init_std)
        self.fields = Fields(catalogue, width + 1, init=init, sparse=settings.sparse)
        numbers = self.fields.num_numbers
        self.numbers = nn.Parameter(init(torch.empty(numbers, width + 1))) if numbers else None
        self.num_request_columns = self.fields.num_request_fields + self.fields.num_request_numbers
        num_fields = self.fields.num_fields + numbers
        outputs = (*settings.hidden, 1) if settings.head == "sum" else settings.hidden
        self.deep = mlp(
            (num_fields * width, *outputs),
            last_activation=settings.head == "project",
            batch_norm=settings.batch_norm,
            dropout=settings.dropout,
        )
        self.bias = nn.Parameter(torch.zeros(1)) if settings.head == "sum" else None
        self.projection = None
        if settings.head == "project":
            self.projection = nn.Linear(num_fields + width + settings.hidden[-1], 1)
        self.evidence = EvidenceHead(catalogue.evidence) if catalogue.evidence else None

    def forget_users(self, users: Tensor) -> None:
        """Treat the users (N,) as unknown: training will not meet them."""
        self.fields.forget_users(users)

    def weight_decays(self) -> dict[nn.Parameter, float]:
        """The decay of parameters that have their own."""
        decayed = [self.fields.table] + ([] if self.numbers is None else [self.numbers])
        return dict.fromkeys(decayed, self.settings.embedding_l2) if self.settings.embedding_l2 else {}

    def count(self, examples: Examples) -> None:
        """Count what training will learn from, for the crossed columns."""
        self.fields.count(examples)

    def forward(self, requests: Requests, items: Tensor, own: Tensor | None = None) -> Tensor:
        """Raw scores (B, C) of items (B, C) without evidence; ``own`` as in :class:`Fields`."""
        return self.from_rows(self.rows(requests, items, None, own))

    def rows(
        self, requests: Requests, items: Tensor, evidence: Tensor | None, own: Tensor | None = None
    ) -> dict[str, Tensor]:
        """What the table and the columns hold for requests with items (B, C), and evidence (B, C, E) of those."""
        return ranked_rows(self.fields.rows(requests, items, own), items, evidence, self.evidence)

    def from_rows(self, rows: Mapping[str, Tensor]) -> Tensor:
        """Raw scores (B, C) from rows of requests with items."""
        return with_evidence(self._scores(rows).expand(rows["valid"].shape), self.evidence, rows)

    def _scores(self, rows: Mapping[str, Tensor]) -> Tensor:
        """Scores (B, C), or (B, 1) where nothing differs between the items."""
        terms = list[Terms]()
        if self.num_request_columns:
            terms.append(self._terms(*self._columns(rows, "request"), before=0).of_each_item())
        if self.fields.has_pairs:
            terms.append(self._terms(*self._columns(rows, "pair"), before=self.num_request_columns))
        total, squares = (torch.as_tensor(sum(getattr(each, name) for each in terms)) for name in ("total", "squares"))
        first_layer = self.deep[0]
        assert isinstance(first_layer, nn.Linear)
        entered = torch.as_tensor(sum(each.deep for each in terms))
        deep: Tensor = self.deep[1:](entered + first_layer.bias.to(entered.dtype))  # (B, 1 or C, H)
        second = (total.square() - squares) / 2  # (B, 1 or C, D)
        if self.projection is None:
            assert self.bias is not None
            linear = sum(each.first.sum(2) for each in terms)
            return self.bias + linear + second.sum(2) + deep.squeeze(2)
        first = torch.cat([each.first.expand(-1, deep.shape[1], -1) for each in terms], dim=2)
        scores: Tensor = self.projection(torch.cat((first, second, deep), dim=2))
        return scores.squeeze(2)

    def score(self, requests: Requests, candidates: Candidates) -> Tensor:
        """Raw scores (B, C); the empty slots' are meaningless."""
        return self._score(requests, candidates.items, candidates.evidence, None)

    def loss(self, examples: Examples) -> Tensor:
        """The loss that the settings name, over labels, sampled negatives or a retriever's labelled candidates."""
        return ranking_loss(self._score, examples, loss=self.settings.loss, has_items=self.fields.has_items)

    def _score(self, requests: Requests, items: Tensor, evidence: Tensor | None, own: Tensor | None) -> Tensor:
        return self.from_rows(self.rows(requests, items, evidence, own))

    def _columns(self, rows: Mapping[str, Tensor], owner: str) -> tuple[Tensor, Tensor]:
        """Vectors (…, F, D+1) and numbers (…, G) of the owner's columns, F or G perhaps 0."""
        vectors, numbers = rows.get(owner), rows.get(f"{owner}_numbers")
        if vectors is None:
            assert numbers is not None
            return numbers.new_zeros(*numbers.shape[:-1], 0, self.settings.embedding_dim + 1), numbers
        return vectors, vectors.new_zeros(*vectors.shape[:-2], 0) if numbers is None else numbers

    def _terms(self, vectors: Tensor, numbers: Tensor, *, before: int) -> Terms:
        """What ids with vectors (…, F, D+1) and numbers (…, G) add to each part of the score; ``before`` columns come first.

        A number x of vector v puts x v into the first layer and the sums. All numbers are multiplied with the layer's
        product with their vectors at once, so that no vector of theirs is ever made.
        """
        width, num_ids = self.settings.embedding_dim, vectors.shape[-2]
        first_layer = self.deep[0]
        assert isinstance(first_layer, nn.Linear)
        weight = first_layer.weight[:, before * width : (before + num_ids + numbers.shape[-1]) * width]  # (H, (F+G)D)
        ids = field_terms(vectors)
        deep = nn.functional.linear(ids.deep, weight[:, : num_ids * width])
        if self.numbers is None or not numbers.shape[-1]:
            return ids._replace(deep=deep)
        place = 0 if before == 0 else self.fields.num_request_numbers
        own = self.numbers[place : place + numbers.shape[-1]]  # (G, D+1)
        of_numbers = weight[:, num_ids * width :].view(len(weight), -1, width)  # (H, G, D)
        deep = deep + nn.functional.linear(numbers, (of_numbers * own[:, :width]).sum(2))
        with torch.autocast(vectors.device.type, enabled=False):  # the second order is a difference of large numbers
            total = ids.total + numbers @ own[:, :width]
            squares = ids.squares + numbers.square() @ own[:, :width].square()
        return Terms(deep, torch.cat((ids.first, numbers * own[:, width]), dim=-1), total, squares)
