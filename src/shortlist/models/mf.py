"""Matrix factorisation: a user's vector times an item's vector, with biases.

Koren, Bell & Volinsky 2009, "Matrix factorization techniques for recommender systems"; for implicit feedback as in
Rendle et al. 2009 (BPR) and Rendle et al. 2020, "Neural collaborative filtering vs. matrix factorization revisited".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shortlist.contracts import Catalogue, Examples, Requests, Sampling
from shortlist.errors import SettingsError
from shortlist.models import losses
from shortlist.models.layers import Table
from shortlist.models.tracing import is_traced

Loss = Literal["bce", "bpr", "sampled_softmax", "mse"]
Similarity = Literal["dot", "cosine"]


@dataclass(frozen=True, slots=True)
class MF:
    """Settings of matrix factorisation.

    ``loss="mse"`` predicts ratings, the others order items. ``regularization`` weighs the squared length of the vectors
    each example touches. ``negatives`` are drawn for each positive; with ``sampled_softmax`` the whole batch shares them
    and they join the other positives of the batch. ``similarity="cosine"`` compares vectors of length 1:
    scores do not grow with an item's popularity, and ``temperature`` (0.1 to 0.2) sets how much the hardest negatives
    count (Wu et al. 2024, "On the effectiveness of sampled softmax loss for item recommendation"). With ``item_bias`` a
    learned number of each item joins its cosine, as it joins dot products anyway. ``history`` serves users who have no vector of their own: they get
    the mean vector of the last ``history`` items they are known to like.
    """

    embedding_dim: int = 64
    loss: Loss = "sampled_softmax"
    negatives: int = 512
    similarity: Similarity = "dot"
    temperature: float = 1.0
    item_bias: bool = False  # of cosines
    regularization: float = 0.0
    init_std: float = 0.1
    history: int = 50

    recommended: ClassVar[Mapping[str, Any]] = {"learning_rate": 2e-3, "batch_size": 2048}

    def __post_init__(self) -> None:
        if self.loss not in ("bce", "bpr", "sampled_softmax", "mse"):
            raise SettingsError(f"MF.loss is {self.loss!r}. It is one of: bce, bpr, sampled_softmax, mse.")
        if self.similarity not in ("dot", "cosine"):
            raise SettingsError(f"MF.similarity is {self.similarity!r}. It is one of: dot, cosine.")
        if self.similarity == "cosine" and self.loss == "mse":
            raise SettingsError("MF.loss = 'mse' predicts ratings, which cosines cannot. Use similarity = 'dot'.")
        if self.temperature <= 0:
            raise SettingsError(f"MF.temperature is {self.temperature}. It is a number above 0.")

    @property
    def sampling(self) -> Sampling:
        """Pairs with negatives, or ratings."""
        if self.loss == "mse":
            return Sampling("ratings")
        if self.loss == "sampled_softmax":
            return Sampling("pairs", shared_negatives=self.negatives)
        return Sampling("pairs", negatives=self.negatives)

    def build(self, catalogue: Catalogue) -> nn.Module:
        """The network, freshly initialised."""
        return MFNetwork(self, catalogue)


class MFNetwork(nn.Module):
    """score(u, i) = mu + b_u + b_i + <p_u, q_i>, written as one dot product.

    Losses that only compare a user's items among each other cannot tell mu and b_u: they leave them out, as cosines do.
    """

    link: Literal["sigmoid", "identity"]

    def __init__(self, settings: MF, catalogue: Catalogue) -> None:
        super().__init__()
        self.settings = settings
        self.link = "identity" if settings.loss == "mse" else "sigmoid"
        std = settings.init_std / settings.embedding_dim**0.5
        self.users = Table(catalogue.num_users, settings.embedding_dim, std=std, owner="user")
        self.items = Table(catalogue.num_items, settings.embedding_dim, std=std)
        self.is_cosine = settings.similarity == "cosine"
        has_bias = settings.item_bias or not self.is_cosine
        self.item_bias = Table(catalogue.num_items, 1, std=0.0) if has_bias else None
        self.user_bias: Table | None = None
        if settings.loss in ("bce", "mse") and not self.is_cosine:
            self.user_bias = Table(catalogue.num_users, 1, std=0.0, owner="user")
            self.mean = nn.Parameter(torch.zeros(1))

    def can_serve(self, requests: Requests) -> Tensor:
        """Which requests (B,) have a vector: known users, and others with a history."""
        assert requests.user is not None
        known = self.users.knows(requests.user)
        return known if requests.length is None else known | (requests.length > 0)

    def forget_users(self, users: Tensor) -> None:
        """Treat the users (N,) as unknown: training will not meet them."""
        self.users.forget(users)

    def embed_requests(self, requests: Requests) -> Tensor:
        """Vectors (B, D+2), (B, D+1) without user biases or (B, D) without any: the user's own, else its history's mean."""
        assert requests.user is not None
        vectors = self.users.lookup(requests.user)  # (B, D)
        unknown = ~self.users.knows(requests.user)
        if requests.history is not None and requests.length is not None and (is_traced() or bool(unknown.any())):
            share = (requests.history > 0) / requests.length[:, None].clamp(min=1)  # (B, T)
            pooled = self.items.pool(requests.history, share)
            vectors = torch.where(unknown[:, None], pooled, vectors)
        if self.is_cosine:
            vectors = F.normalize(vectors, dim=1)
        if self.item_bias is None:
            return vectors
        parts = [vectors, torch.ones_like(vectors[:, :1])]
        if self.user_bias is not None:
            parts.append(self.user_bias.lookup(requests.user) + self.mean)
        return torch.cat(parts, dim=1)

    def embed_items(self, items: Tensor) -> Tensor:
        """Vectors (…, D+2), (…, D+1) without user biases or (…, D) without any, of items (…)."""
        vectors = self.items.lookup(items)
        if self.is_cosine:
            vectors = F.normalize(vectors, dim=-1)
        if self.item_bias is None:
            return vectors
        bias = self.item_bias.lookup(items)
        if self.is_cosine:  # which the temperature will divide
            bias = bias * self.settings.temperature
        parts = [vectors, bias]
        if self.user_bias is not None:
            parts.append(torch.ones_like(bias))
        return torch.cat(parts, dim=-1)

    def loss(self, examples: Examples) -> Tensor:
        """The loss that the settings name, plus the regularisation."""
        queries = self.embed_requests(examples.requests)  # (R, D+2)
        positives = self.embed_items(examples.items[:, 0])  # (B, D+2)
        users = queries if examples.request is None else queries[examples.request]  # (B, D+2)
        weights = None if examples.weights is None else examples.weights[:, 0]
        if self.settings.loss == "mse":
            assert examples.targets is not None
            return losses.mse(self._score(users, positives), examples.targets[:, 0], weights) + self._penalty(
                users, positives
            )
        assert examples.negatives is not None
        if self.settings.loss == "sampled_softmax":
            assert examples.target_column is not None
            negatives = self.embed_items(examples.negatives)  # (N, D+2)
            value = losses.sampled_softmax(
                queries,
                negatives,
                examples.target_column,
                temperature=self.settings.temperature,
                log_prob=examples.negatives_log_prob,
                masked=examples.also_positive,
                weights=weights,
                query=examples.request,
            )
        else:
            negatives = self.embed_items(examples.negatives[:, 0])  # (B, N, D+2)
            against = torch.einsum("bd,bnd->bn", users, negatives) / self.settings.temperature
            pairwise = losses.bce if self.settings.loss == "bce" else losses.bpr
            value = pairwise(self._score(users, positives), against, weights)
        return value + self._penalty(users, positives, negatives)

    def _score(self, users: Tensor, items: Tensor) -> Tensor:
        return (users * items).sum(1) / self.settings.temperature

    def _penalty(self, *vectors: Tensor) -> Tensor:
        if self.settings.regularization == 0:
            return vectors[0].new_zeros(())
        width = self.settings.embedding_dim
        return self.settings.regularization * sum(
            (v[..., :width].square().sum() / vectors[0].shape[0] for v in vectors), start=vectors[0].new_zeros(())
        )
