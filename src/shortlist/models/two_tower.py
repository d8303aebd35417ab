"""Two towers: one embeds what is known of the user, the other the item; their dot product is the score.

Covington et al. 2016, "Deep neural networks for YouTube recommendations"; Yi et al. 2019, "Sampling-bias-corrected
neural modeling for large corpus item recommendations"; Yang et al. 2020, "Mixed negative sampling".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shortlist.contracts import Catalogue, Examples, Requests, Sampling
from shortlist.errors import SettingsError
from shortlist.models import losses
from shortlist.models.item_features import ItemFeatures
from shortlist.models.layers import FeatureEmbedding, Table, mlp


@dataclass(frozen=True, slots=True)
class TwoTower:
    """Settings of the two-tower model.

    The user tower joins the user's id, features and the last ``history`` items, weighted by learned recency; the item
    tower joins the item's id and features. ``hidden`` are the widths of the towers' hidden layers. The loss is a softmax
    over the other positives of the batch and ``negatives`` uniform items, each corrected by its log chance of being
    there; scores are cosines divided by ``temperature``. With ``hard_negatives`` a request is also compared with that many
    of the best ``hard_pool`` wrong answers that the model itself would give after ``hard_after`` epochs. ``id_dropout`` hides that share of user ids in training, so
    that users without one are served by their features and history.
    """

    embedding_dim: int = 64
    hidden: tuple[int, ...] = (128,)
    history: int = 50
    negatives: int = 1024
    hard_negatives: int = 0
    hard_pool: int = 100
    hard_after: int = 2
    temperature: float = 0.1
    id_dropout: float = 0.1
    init_std: float = 0.1

    recommended: ClassVar[Mapping[str, Any]] = {"learning_rate": 1e-3, "batch_size": 2048}

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise SettingsError(f"TwoTower.temperature is {self.temperature}. It is a number above 0.")

    @property
    def sampling(self) -> Sampling:
        """Pairs with their history; negatives from the batch and uniform ones."""
        return Sampling(
            "pairs",
            history=self.history,
            shared_negatives=self.negatives,
            hard_negatives=self.hard_negatives,
            hard_pool=self.hard_pool,
            hard_after=self.hard_after,
        )

    def build(self, catalogue: Catalogue) -> nn.Module:
        """The network, freshly initialised."""
        return TwoTowerNetwork(self, catalogue)


class TwoTowerNetwork(nn.Module):
    """Both towers end on the unit sphere."""

    def __init__(self, settings: TwoTower, catalogue: Catalogue) -> None:
        super().__init__()
        self.settings = settings
        self.item_features = ItemFeatures.of(catalogue.item_features)
        width, std = settings.embedding_dim, settings.init_std
        self.items = Table(catalogue.num_items, width, std=std)
        self.users = Table(catalogue.num_users, width, std=std)
        self.recency = nn.Parameter(-torch.log1p(torch.arange(settings.history))) if settings.history else None
        layouts = {
            "item": None if catalogue.item_features is None else catalogue.item_features.layout,
            "user": catalogue.user_features,
            "context": catalogue.context,
        }
        self.features = nn.ModuleDict(
            {owner: FeatureEmbedding(layout, width, std=std) for owner, layout in layouts.items() if layout is not None}
        )
        inputs = width * (1 + (settings.history > 0) + ("user" in self.features) + ("context" in self.features))
        self.user_tower = mlp((inputs, *settings.hidden, width))
        self.item_tower = mlp((width, *settings.hidden, width))

    def can_serve(self, requests: Requests) -> Tensor:
        """Which requests (B,) say anything: a known user, a history or user features."""
        assert requests.user is not None
        served = self.users.knows(requests.user)
        if requests.length is not None:
            served = served | (requests.length > 0)
        return served | (requests.user_features is not None)

    def forget_users(self, users: Tensor) -> None:
        """Treat the users (N,) as unknown: training will not meet them."""
        self.users.forget(users)

    def embed_requests(self, requests: Requests) -> Tensor:
        """Vectors (B, D) of length 1."""
        assert requests.user is not None
        user = requests.user
        if self.training and self.settings.id_dropout:
            user = user.masked_fill(torch.rand(len(user), device=user.device) < self.settings.id_dropout, 0)
        parts = [self.users.lookup(user)]
        if self.recency is not None:
            assert requests.history is not None
            assert requests.length is not None
            parts.append(self._pool(requests.history, requests.length, self.recency))
        for owner, features in (("user", requests.user_features), ("context", requests.context)):
            if owner in self.features:
                width = self.settings.embedding_dim
                parts.append(
                    parts[0].new_zeros(len(user), width) if features is None else self.features[owner](features)
                )
        joined: Tensor = self.user_tower(torch.cat(parts, dim=1))
        return F.normalize(joined, dim=1)

    def embed_items(self, items: Tensor) -> Tensor:
        """Vectors (…, D) of length 1 for items (…)."""
        flat = items.reshape(-1)
        vectors = self.items.lookup(flat)
        if "item" in self.features:
            assert self.item_features is not None
            vectors = vectors + self.features["item"](self.item_features.take(flat))
        vectors = vectors + self.item_tower(vectors)
        return F.normalize(vectors, dim=1).reshape(*items.shape, -1)

    def loss(self, examples: Examples) -> Tensor:
        """Softmax over the batch's items and the uniform negatives, corrected for how often each is drawn."""
        assert examples.negatives is not None
        assert examples.target_column is not None
        return losses.sampled_softmax(
            self.embed_requests(examples.requests),  # (B, D)
            self.embed_items(examples.negatives),  # (N, D)
            examples.target_column,
            temperature=self.settings.temperature,
            log_prob=examples.negatives_log_prob,
            masked=examples.also_positive,
            weights=None if examples.weights is None else examples.weights[:, 0],
        )

    def _pool(self, history: Tensor, length: Tensor, recency: Tensor) -> Tensor:
        """The history (B, T) as one vector (B, D): a mean weighted by how recent each item is."""
        if history.shape[1] == 0:
            return history.new_zeros(len(history), self.settings.embedding_dim, dtype=torch.float32)
        age = length[:, None] - 1 - torch.arange(history.shape[1], device=history.device)  # (B, T), 0 = the newest
        weights = torch.exp(recency[age.clamp(min=0, max=len(recency) - 1)]) * (history > 0)
        return self.items.pool(history, weights / weights.sum(1, keepdim=True).clamp(min=1e-9))
