"""Two towers: one embeds what is known of the user, the other the item; their dot product is the score.

Covington et al. 2016, "Deep neural networks for YouTube recommendations"; Yi et al. 2019, "Sampling-bias-corrected
neural modeling for large corpus item recommendations"; Yang et al. 2020, "Mixed negative sampling".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shortlist.contracts import Catalogue, Examples, Requests, Sampling
from shortlist.errors import SettingsError, check_choices, check_ranges
from shortlist.models import losses
from shortlist.models.blocked import evenly
from shortlist.models.feature_embedding import FeatureEmbedding
from shortlist.models.item_features import ItemFeatures
from shortlist.models.layers import Table, mlp
from shortlist.models.more import More, Place

Pooling = Literal["recency", "attention"]


@dataclass(frozen=True, slots=True)
class TwoTower:
    """Settings of the two-tower model.

    The user tower joins the user's id, features, the request's context, and the last ``history`` items as one mean:
    weighted by learned recency, or with ``pooling="attention"`` also by how well each item's vector answers a learned query.
    The item tower joins the item's id and features. ``hidden`` are the widths of the towers' hidden layers. The loss is a softmax
    over the other positives of the batch and ``negatives`` uniform items, each corrected by its log chance of being
    there; scores are cosines divided by ``temperature``. With ``hard_negatives`` a request is also compared with that many
    of the best ``hard_pool`` wrong answers that the model itself would give after ``hard_after`` epochs. ``id_dropout``
    hides that share of user ids in training, so that users without one are served by their features and history, and of
    the ids of items with features (Volkovs et al. 2017, "DropoutNet"). Items that training does not meet have their
    features alone.

    Without ``hidden`` layers there are none at all: what is known of the user is added up, and so is what is known of the
    item. With ``item_bias`` a learned number of each item joins the cosine, for catalogues where some items are taken far more
    often than others. ``ordered=False`` is for events whose order says nothing: a target's history is then drawn from all
    else that its user likes, whatever comes first in the file, and pooled without recency; there is no vector of the user's id,
    which beside all but one of the user's items would give away the one that is missing. With ``sparse`` (and the optimiser "rowwise_adagrad" or "adagrad", at a learning rate of about 0.05) a step
    costs the same however many items there are: for catalogues from about 100,000 items.
    """

    embedding_dim: int = 64
    hidden: tuple[int, ...] = (128,)
    history: int = 50
    pooling: Pooling = "recency"
    negatives: int = 1024
    hard_negatives: int = 0
    hard_pool: int = 100
    hard_after: int = 2
    temperature: float = 0.1
    item_bias: bool = False
    ordered: bool = True
    id_dropout: float = 0.1
    init_std: float = 0.1
    sparse: bool = False  # gradients of the items and users in the batch alone, for large catalogues

    recommended: ClassVar[Mapping[str, Any]] = {"learning_rate": 1e-3, "batch_size": 2048}

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise SettingsError(f"TwoTower.temperature is {self.temperature}. It is a number above 0.")
        check_ranges(self, shares=("id_dropout",))
        if self.hard_negatives > self.hard_pool:
            raise SettingsError(
                f"TwoTower.hard_negatives is {self.hard_negatives} of the best hard_pool = {self.hard_pool}. Draw no more than "
                "that, or raise hard_pool."
            )
        check_choices(self, {"pooling": Pooling})
        if not self.ordered and not self.history:
            raise SettingsError("TwoTower.ordered = false knows a user by the history alone. Set history above 0.")

    @property
    def sampling(self) -> Sampling:
        """Pairs with their history; negatives from the batch and uniform ones."""
        return Sampling(
            "pairs",
            history=self.history,
            ordered=self.ordered,
            shared_negatives=self.negatives,
            hard_negatives=self.hard_negatives,
            hard_pool=self.hard_pool,
            hard_after=self.hard_after,
        )

    def build(self, catalogue: Catalogue) -> nn.Module:
        """The network, freshly initialised."""
        return TwoTowerNetwork(self, catalogue)


class TwoTowerNetwork(nn.Module):
    """Both towers end on the unit sphere; a bias, where items have one, stands beside."""

    def __init__(self, settings: TwoTower, catalogue: Catalogue) -> None:
        super().__init__()
        self.settings = settings
        self.item_features = ItemFeatures.of(catalogue.item_features)
        width, std = settings.embedding_dim, settings.init_std
        self.items = Table(catalogue.num_items, width, std=std, sparse=settings.sparse)
        self.item_bias = Table(catalogue.num_items, 1, std=0.0, sparse=settings.sparse) if settings.item_bias else None
        self.users = (
            Table(catalogue.num_users, width, std=std, sparse=settings.sparse, owner="user")
            if settings.ordered
            else None
        )
        self.recency = None
        if settings.history and settings.ordered:
            self.recency = nn.Parameter(-torch.log1p(torch.arange(settings.history)))
        self.query = None
        if settings.history and settings.pooling == "attention":
            self.query = nn.Parameter(torch.empty(width).normal_(std=width**-0.5))
        self.unmet: Tensor
        self.register_buffer("unmet", torch.zeros(catalogue.num_items + 1, dtype=torch.bool), persistent=False)
        layouts = {
            "item": None if catalogue.item_features is None else catalogue.item_features.layout,
            "user": catalogue.user_features,
            "context": catalogue.context,
        }
        self.features = nn.ModuleDict(
            {owner: FeatureEmbedding(layout, width, std=std) for owner, layout in layouts.items() if layout is not None}
        )
        num_parts = settings.ordered + (settings.history > 0) + ("user" in self.features) + ("context" in self.features)
        self.user_tower = mlp((width * num_parts, *settings.hidden, width)) if settings.hidden else None
        self.item_tower = mlp((width, *settings.hidden, width)) if settings.hidden else None

    def can_serve(self, requests: Requests) -> Tensor:
        """Which requests (B,) say anything: a known user, a history or user features."""
        assert requests.user is not None
        served = torch.zeros_like(requests.user, dtype=torch.bool)
        if self.users is not None:
            served = self.users.knows(requests.user)
        if requests.length is not None:
            served = served | (requests.length > 0)
        return served | (requests.user_features is not None)

    def forget_users(self, users: Tensor) -> None:
        """Treat the users (N,) as unknown: training will not meet them."""
        if self.users is not None:
            self.users.forget(users)

    def forget_items(self, items: Tensor) -> None:
        """Let the items (N,), which training will not meet, be known by their features alone."""
        if "item" in self.features:  # else as negatives they learn at least that nobody wanted them
            self.items.forget(items)
            self.unmet[items] = True

    def grow_by(self, more: More, _: Place) -> None:
        """Hold of new items that they are like any other until training meets them, or not."""
        self.unmet = torch.cat((self.unmet, self.unmet.new_zeros(more.items)))

    def embed_requests(self, requests: Requests) -> Tensor:
        """Vectors (B, D) of length 1, or (B, D+1) where items have a bias."""
        assert requests.user is not None
        user, parts = requests.user, list[Tensor]()
        if self.users is not None:
            parts.append(self.users.lookup(self._dropped(user)))
        if self.settings.history:
            assert requests.history is not None
            assert requests.length is not None
            parts.append(self._pool(requests.history, requests.length))
        for owner, features in (("user", requests.user_features), ("context", requests.context)):
            if owner in self.features:
                width = self.settings.embedding_dim
                parts.append(
                    parts[0].new_zeros(len(user), width) if features is None else self.features[owner](features)
                )
        joined: Tensor = (
            torch.stack(parts).sum(0) if self.user_tower is None else evenly(self.user_tower, torch.cat(parts, dim=1))
        )
        joined = F.normalize(joined.to(torch.promote_types(joined.dtype, torch.float32)), dim=1)
        return joined if self.item_bias is None else torch.cat((joined, torch.ones_like(joined[:, :1])), dim=1)

    def embed_items(self, items: Tensor) -> Tensor:
        """Vectors (…, D) of length 1 for items (…), with their bias (…, D+1)."""
        flat = items.reshape(-1)
        if self.item_features is None or not self.item_features.layout.images:
            return self._embed_items(flat).reshape(*items.shape, -1)
        distinct, places = torch.unique(flat, return_inverse=True)  # a picture that comes again is not looked at again
        return self._embed_items(distinct)[places].reshape(*items.shape, -1)

    def _embed_items(self, items: Tensor) -> Tensor:
        ids = items
        if "item" in self.features:
            assert self.item_features is not None
            ids = self._dropped(items.masked_fill(self.unmet[items], 0))
            vectors = self.items.lookup(ids) + self.features["item"](self.item_features.take(items))
        else:
            vectors = self.items.lookup(ids)
        if self.item_tower is not None:
            vectors = vectors + evenly(self.item_tower, vectors)
        vectors = F.normalize(vectors, dim=1)
        if self.item_bias is None:
            return vectors
        return torch.cat(
            (vectors, self.item_bias.lookup(ids) * self.settings.temperature), dim=1
        )  # which will divide it

    def _dropped(self, ids: Tensor) -> Tensor:
        """The ids (N,), in training some of them as unknown."""
        if not self.training or not self.settings.id_dropout:
            return ids
        return ids.masked_fill(torch.rand(len(ids), device=ids.device) < self.settings.id_dropout, 0)

    def loss(self, examples: Examples) -> Tensor:
        """Softmax over the batch's items and the uniform negatives, corrected for how often each is drawn."""
        assert examples.negatives is not None
        assert examples.target_column is not None
        assert examples.also_positive is not None
        masked, unmet = examples.also_positive, self.unmet[examples.negatives]  # (R, N), (N,)
        if unmet.any():  # that nobody took an item yet says nothing of those that are like it
            masked = unmet | masked
        return losses.sampled_softmax(
            self.embed_requests(examples.requests),  # (R, D)
            self.embed_items(examples.negatives),  # (N, D)
            examples.target_column,
            temperature=self.settings.temperature,
            log_prob=examples.negatives_log_prob,
            masked=masked,
            weights=None if examples.weights is None else examples.weights[:, 0],
            query=examples.request,
        )

    def _pool(self, history: Tensor, length: Tensor) -> Tensor:
        """The history (B, T) as one vector (B, D): a mean weighted by how recent each item is, and by what it is."""
        if history.shape[1] == 0:
            return history.new_zeros(len(history), self.settings.embedding_dim, dtype=torch.float32)
        logits = torch.zeros_like(history, dtype=torch.float32)  # (B, T)
        if self.recency is not None:
            age = length[:, None] - 1 - torch.arange(history.shape[1], device=history.device)  # 0 = the newest
            logits = self.recency[age.clamp(min=0, max=len(self.recency) - 1)]
        if self.query is not None:
            logits = logits + self.items.lookup(history) @ self.query
            logits = logits - logits.detach().amax(1, keepdim=True)
        weights = torch.exp(logits) * (history > 0)
        return self.items.pool(history, weights / weights.sum(1, keepdim=True).clamp(min=1e-9))
