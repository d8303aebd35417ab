"""DLRM: numbers through a perceptron, ids through embeddings, all their dot products, and a perceptron on top.

Naumov et al. 2019, "Deep learning recommendation model for personalization and recommendation systems"; initialisation
and order as in the authors' code (github.com/facebookresearch/dlrm).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from shortlist.contracts import Candidates, Catalogue, Examples, Requests, Sampling
from shortlist.errors import SettingsError, check_choices, check_ranges
from shortlist.models.fields import Fields
from shortlist.models.interactions import PairProducts, SharedProducts
from shortlist.models.layers import EvidenceHead, mlp
from shortlist.models.ranking import FIELD_ROWS, RankingLoss, ranked_rows, ranker_sampling, ranking_loss, with_evidence

Interaction = Literal["dot", "cat"]


@dataclass(frozen=True, slots=True)
class DLRM:
    """Settings of DLRM.

    ``bottom`` are the hidden layers that the numeric columns go through before a last one of ``embedding_dim``; ``top``
    those over the interactions. ``interaction="dot"`` takes the dot products of all pairs of vectors, with ``itself``
    those of each with itself too; ``"cat"`` puts the vectors side by side. ``batch_norm``, ``dropout`` and
    ``embedding_l2`` as in DeepFM (the authors use none of them). Multi-hot fields are sums.
    It learns from labels where the data has them, else from ``negatives`` sampled for each positive; ``loss`` as in
    NeuMF. ``sparse`` gradients hold only the rows that a batch meets, for Adagrad and SGD. Crossed
    columns as in DeepFM.
    """

    embedding_dim: int = 16
    bottom: tuple[int, ...] = (64,)
    top: tuple[int, ...] = (256, 128)
    interaction: Interaction = "dot"
    itself: bool = False
    batch_norm: bool = False
    dropout: float = 0.0
    embedding_l2: float = 0.0
    loss: RankingLoss = "bce"
    negatives: int = 4
    sparse: bool = False

    recommended: ClassVar[Mapping[str, Any]] = {"learning_rate": 1e-3, "batch_size": 2048}

    def __post_init__(self) -> None:
        check_ranges(self, whole=("embedding_dim",), shares=("dropout",), from_0=("embedding_l2",))
        for name in ("bottom", "top"):
            widths = getattr(self, name)
            if not isinstance(widths, tuple) or (widths and min(widths) < 1):
                raise SettingsError(f"DLRM.{name} is {widths}. It is a tuple of layers' widths, such as (256, 128).")
        if self.sparse and self.embedding_l2:
            raise SettingsError("DLRM.sparse touches only a batch's rows, and embedding_l2 all of them. Leave one out.")
        check_choices(self, {"interaction": Interaction, "loss": RankingLoss})

    @property
    def sampling(self) -> Sampling:
        """Labels, pairs with negatives, or ratings."""
        return ranker_sampling(self.loss, negatives=self.negatives)

    def build(self, catalogue: Catalogue) -> nn.Module:
        """The network, freshly initialised."""
        return DLRMNetwork(self, catalogue)


class DLRMNetwork(nn.Module):
    """y = top(x, {t_i . t_j : i > j}) over t = (x, e_1, …, e_F) with x = bottom(numbers).

    Without numeric columns there is no x.
    """

    link: Literal["sigmoid", "identity"]
    axes: ClassVar[Mapping[str, str]] = FIELD_ROWS

    def __init__(self, settings: DLRM, catalogue: Catalogue) -> None:
        super().__init__()
        self.settings = settings
        self.link = "identity" if settings.loss == "mse" else "sigmoid"
        width = settings.embedding_dim
        self.fields = Fields(catalogue, width, init=_uniform, bags="sum", sparse=settings.sparse)
        self.bottom = None
        if self.fields.num_numbers:
            self.bottom = _perceptron(
                (self.fields.num_numbers, *settings.bottom, width), settings, last_activation=True
            )
        vectors = self.fields.num_fields + (self.bottom is not None)
        self.shared_products: SharedProducts | None = None
        if settings.interaction == "cat":
            inputs = vectors * width
        else:
            self.products = PairProducts(vectors, itself=settings.itself)
            first = int(self.bottom is not None)
            shared = range(first, first + self.fields.num_request_fields)
            if 0 < len(shared) < vectors:
                self.shared_products = SharedProducts(vectors, shared, itself=settings.itself)
            inputs = len(self.products) + (width if self.bottom is not None else 0)
        if inputs == 0:
            raise SettingsError(
                "DLRM.interaction = 'dot' needs two columns or more to multiply, and the data has one. "
                "Name more features, or set interaction = 'cat'."
            )
        self.top = _perceptron((inputs, *settings.top, 1), settings)
        self.evidence = EvidenceHead(catalogue.evidence) if catalogue.evidence else None

    def forget_users(self, users: Tensor) -> None:
        """Treat the users (N,) as unknown: training will not meet them."""
        self.fields.forget_users(users)

    def weight_decays(self) -> dict[nn.Parameter, float]:
        """The decay of parameters that have their own."""
        return {self.fields.table: self.settings.embedding_l2} if self.settings.embedding_l2 else {}

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
        if torch.is_grad_enabled() or self.shared_products is None:
            scores: Tensor = self.top(self.interact(rows))
        else:
            scores = self._serve(rows, self.shared_products)
        return with_evidence(scores.view(rows["valid"].shape), self.evidence, rows)

    def interact(self, rows: Mapping[str, Tensor]) -> Tensor:
        """What the top perceptron reads (B * C, …): x, and the pairs' dot products row by row, or all vectors."""
        shape, vectors = rows["valid"].shape, list[Tensor]()
        if "request" in rows:
            vectors.append(rows["request"][:, None].expand(-1, shape[1], -1, -1))
        vectors += [rows["pair"]] if "pair" in rows else []
        bottom = self._bottom(rows)
        if bottom is not None:
            vectors = [bottom.view(*shape, 1, bottom.shape[1]), *(part.to(bottom.dtype) for part in vectors)]
        joined = torch.cat(vectors, dim=2).flatten(0, 1)  # (B*C, F, D)
        if self.settings.interaction == "cat":
            return joined.flatten(1)
        products = self.products(joined)
        return products if bottom is None else torch.cat((bottom, products), dim=1)

    def _bottom(self, rows: Mapping[str, Tensor]) -> Tensor | None:
        """What the bottom perceptron makes (B * C, D) of the numbers, if there are any."""
        if self.bottom is None:
            return None
        numbers = [rows["pair_numbers"]] if "pair_numbers" in rows else []
        if "request_numbers" in rows:
            numbers.insert(0, rows["request_numbers"][:, None].expand(-1, rows["valid"].shape[1], -1))
        dense = numbers[0] if len(numbers) == 1 else torch.cat(numbers, dim=2)
        found: Tensor = self.bottom(dense.flatten(0, 1))
        return found

    def _serve(self, rows: Mapping[str, Tensor], products: SharedProducts) -> Tensor:
        """The top perceptron's answers (B * C, 1) by ``products``, which its first layer reads in their order."""
        shape, bottom = rows["valid"].shape, self._bottom(rows)
        own = [rows["pair"]] if "pair" in rows else []
        if bottom is not None:
            own.insert(0, bottom.view(*shape, 1, bottom.shape[1]))
        vectors = own[0] if len(own) == 1 else torch.cat(own, dim=2)
        read, columns = products(vectors, rows["request"]).flatten(0, 1), products.order
        first = self.top[0]
        assert isinstance(first, nn.Linear)
        width = first.in_features - len(columns)  # of x
        weight = first.weight[:, width:].index_select(1, columns)
        if bottom is not None:
            read, weight = torch.cat((bottom, read), dim=1), torch.cat((first.weight[:, :width], weight), dim=1)
        values = nn.functional.linear(read, weight, first.bias)
        for layer in list(self.top)[1:]:
            values = layer(values)
        return values

    def score(self, requests: Requests, candidates: Candidates) -> Tensor:
        """Raw scores (B, C); the empty slots' are meaningless."""
        return self._score(requests, candidates.items, candidates.evidence, None)

    def loss(self, examples: Examples) -> Tensor:
        """The loss that the settings name, over labels, sampled negatives or a retriever's labelled candidates."""
        return ranking_loss(self._score, examples, loss=self.settings.loss, has_items=self.fields.has_items)

    def _score(self, requests: Requests, items: Tensor, evidence: Tensor | None, own: Tensor | None) -> Tensor:
        return self.from_rows(self.rows(requests, items, evidence, own))


def _uniform(rows: Tensor) -> None:
    """U(-sqrt(1/V), sqrt(1/V)) for a field of V values, as the authors draw them."""
    bound = max(len(rows), 1) ** -0.5
    rows.uniform_(-bound, bound)


def _perceptron(widths: Sequence[int], settings: DLRM, *, last_activation: bool = False) -> nn.Sequential:
    """The authors' initialisation: weights N(0, sqrt(2 / (m + n))) of m outputs and n inputs, biases N(0, sqrt(1 / m))."""
    layers = mlp(widths, last_activation=last_activation, batch_norm=settings.batch_norm, dropout=settings.dropout)
    linears = [layer for layer in layers if isinstance(layer, nn.Linear)]
    for layer, (inputs, outputs) in zip(linears, pairwise(widths), strict=True):
        nn.init.normal_(layer.weight, std=(2 / (inputs + outputs)) ** 0.5)
        nn.init.normal_(layer.bias, std=outputs**-0.5)
    return layers
