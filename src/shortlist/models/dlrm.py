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
from shortlist.models.interactions import PairProducts
from shortlist.models.layers import EvidenceHead, mlp
from shortlist.models.ranking import RankingLoss, ranker_sampling, ranking_loss, with_evidence

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
        if settings.interaction == "cat":
            inputs = vectors * width
        else:
            self.products = PairProducts(vectors, itself=settings.itself)
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
        """Raw scores (B, C) of items (B, C); ``own`` as in :class:`Fields`."""
        scores: Tensor = self.top(self.interact(requests, items, own).flatten(0, 1))
        return scores.view(items.shape)

    def interact(self, requests: Requests, items: Tensor, own: Tensor | None = None) -> Tensor:
        """What the top perceptron reads (B, C, …): x, and the pairs' dot products row by row, or all vectors."""
        rows = items.shape[1]
        vectors, numbers = self.fields.of_requests(requests)
        parts, dense = [vectors[:, None].expand(-1, rows, -1, -1)], numbers[:, None].expand(-1, rows, -1)
        if self.fields.has_pairs:
            of_pairs, more = self.fields.of_pairs(requests, items, own)
            parts.append(of_pairs)
            dense = torch.cat((dense, more), dim=2) if dense.shape[2] else more
        bottom = None if self.bottom is None else self.bottom(dense.flatten(0, 1))  # (B*C, D)
        if bottom is not None:
            parts = [bottom.view(*items.shape, 1, -1), *(part.to(bottom.dtype) for part in parts)]
        joined = torch.cat(parts, dim=2).flatten(0, 1)  # (B*C, F, D)
        if self.settings.interaction == "cat":
            return joined.view(*items.shape, -1)
        products = self.products(joined)
        read = products if bottom is None else torch.cat((bottom, products), dim=1)
        return read.view(*items.shape, -1)

    def score(self, requests: Requests, candidates: Candidates) -> Tensor:
        """Raw scores (B, C); the empty slots' are meaningless."""
        return self._score(requests, candidates.items, candidates.evidence, None)

    def loss(self, examples: Examples) -> Tensor:
        """The loss that the settings name, over labels, sampled negatives or a retriever's labelled candidates."""
        return ranking_loss(self._score, examples, loss=self.settings.loss, has_items=self.fields.has_items)

    def _score(self, requests: Requests, items: Tensor, evidence: Tensor | None, own: Tensor | None) -> Tensor:
        return with_evidence(self(requests, items, own), self.evidence, evidence, items)


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
