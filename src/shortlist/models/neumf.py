"""Neural collaborative filtering: a user and an item through a product path, a perceptron path, or both.

He et al. 2017, "Neural collaborative filtering"; the details that the paper leaves open follow the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from shortlist.contracts import Candidates, Catalogue, Examples, Requests, Sampling
from shortlist.errors import SettingsError
from shortlist.models.layers import EvidenceHead, Table, mlp, side_by_side
from shortlist.models.ranking import RANKED, RankingLoss, ranked_rows, ranker_sampling, ranking_loss, with_evidence
from shortlist.models.two_paths import two_path_scores

Paths = Literal["gmf", "mlp", "both"]


@dataclass(frozen=True, slots=True)
class NeuMF:
    """Settings of NeuMF.

    ``paths``: "gmf" (weighted product of ``factors`` wide vectors), "mlp" (perceptron over both vectors side by side) or
    "both". ``layers`` are the perceptron's widths; the first is that of the two vectors together, as in the paper.
    ``loss``: "bce" on the labels that the data has, or on ``negatives`` drawn for each positive, "softmax" of each positive among its negatives
    (list-wise when trained on a retriever's candidates) or "mse" on ratings.

    ``fit(NeuMF(), …, initial={"gmf": a, "mlp": b})`` starts from two fitted models with one path each: their tables and
    hidden layers, and ``fusion`` (the paper's alpha) times the first's prediction layer beside 1 - ``fusion`` times the
    second's.
    """

    paths: Paths = "both"
    factors: int = 8
    layers: tuple[int, ...] = (64, 32, 16, 8)
    loss: RankingLoss = "bce"
    negatives: int = 4
    init_std: float = 0.01
    fusion: float = 0.5

    recommended: ClassVar[Mapping[str, Any]] = {"learning_rate": 1e-3, "batch_size": 2048}

    def __post_init__(self) -> None:
        if self.paths not in ("gmf", "mlp", "both"):
            raise SettingsError(f"NeuMF.paths is {self.paths!r}. It is one of: gmf, mlp, both.")
        if self.loss not in ("bce", "softmax", "mse"):
            raise SettingsError(f"NeuMF.loss is {self.loss!r}. It is one of: bce, softmax, mse.")
        if len(self.layers) < 2 or self.layers[0] % 2:
            raise SettingsError(
                f"NeuMF.layers is {self.layers}. It starts with an even width (both vectors side by side) and has at least "
                "one hidden layer after it."
            )

        if not 0 <= self.fusion <= 1:
            raise SettingsError(f"NeuMF.fusion is {self.fusion}. It is a share from 0 to 1.")

    @property
    def sampling(self) -> Sampling:
        """Labels, pairs with negatives, or ratings."""
        return ranker_sampling(self.loss, negatives=self.negatives)

    def build(self, catalogue: Catalogue) -> nn.Module:
        """The network, freshly initialised."""
        if catalogue.num_items == 0:
            raise SettingsError(
                "NeuMF scores users and items, and the data is a table of rows without them. Use DeepFM or DLRM."
            )
        return NeuMFNetwork(self, catalogue)


class NeuMFNetwork(nn.Module):
    """y = h . [p_u * q_i, MLP([p'_u, q'_i])] + b (eq. 12), and with evidence of a retriever a linear term of it."""

    link: Literal["sigmoid", "identity"]
    axes: ClassVar[Mapping[str, str]] = {"user": "BD", "items": "BCD", **RANKED}

    def __init__(self, settings: NeuMF, catalogue: Catalogue) -> None:
        super().__init__()
        self.settings = settings
        self.link = "identity" if settings.loss == "mse" else "sigmoid"
        users, items, std = catalogue.num_users, catalogue.num_items, settings.init_std
        factors, half = 0, 0
        if settings.paths != "mlp":
            factors = settings.factors
        if settings.paths != "gmf":
            half = settings.layers[0] // 2
            self.hidden = mlp(settings.layers, last_activation=True)
        self.widths = (factors, half)  # of a vector's part for each path; one table holds both, to be looked up at once
        self.users = Table(users, factors + half, std=std, owner="user")
        self.items = Table(items, factors + half, std=std)
        joined = factors + (settings.layers[-1] if half else 0)
        self.prediction = nn.Linear(joined, 1)
        bound = (3 / joined) ** 0.5  # LeCun uniform, as the authors initialise this layer
        nn.init.uniform_(self.prediction.weight, -bound, bound)
        nn.init.zeros_(self.prediction.bias)
        self.evidence = EvidenceHead(catalogue.evidence) if catalogue.evidence else None

    def start_from(self, initial: Mapping[str, nn.Module]) -> None:
        """Take over what a ``gmf`` and an ``mlp`` network have learnt (He et al. 2017, section 3.4.1)."""
        if self.settings.paths != "both" or set(initial) != {"gmf", "mlp"}:
            raise SettingsError(
                f"NeuMF(paths={self.settings.paths!r}) cannot start from {', '.join(initial)}. With both paths it starts "
                'from two models: initial = {"gmf": fit(NeuMF(paths="gmf"), …), "mlp": fit(NeuMF(paths="mlp"), …)}.'
            )
        alpha = self.settings.fusion
        gmf, mlp = (initial[path].state_dict() for path in ("gmf", "mlp"))
        learnt = {name: values for name, values in mlp.items() if name.startswith("hidden.")}
        for name in ("users.embedding.weight", "items.embedding.weight"):
            learnt[name] = torch.cat((gmf[name], mlp[name]), dim=1)
        learnt["prediction.weight"] = torch.cat(
            (alpha * gmf["prediction.weight"], (1 - alpha) * mlp["prediction.weight"]), dim=1
        )
        learnt["prediction.bias"] = alpha * gmf["prediction.bias"] + (1 - alpha) * mlp["prediction.bias"]
        own = self.state_dict()
        for name, values in learnt.items():
            if name not in own or own[name].shape != values.shape:
                here = "nothing" if name not in own else str(tuple(own[name].shape))
                raise SettingsError(
                    f"NeuMF cannot start from these models: {name} is {tuple(values.shape)} of both and {here} here. Give "
                    "all three the same factors and layers, and fit them on the same data."
                )
        self.load_state_dict({**own, **learnt})

    def forget_users(self, users: Tensor) -> None:
        """Treat the users (N,) as unknown: training will not meet them."""
        self.users.forget(users)

    def forward(self, user: Tensor, items: Tensor) -> Tensor:
        """Raw scores (B, C) of users (B,) and items (B, C) without evidence."""
        return self._scores(self.users.lookup(user), self.items.lookup(items))

    def rows(self, requests: Requests, items: Tensor, evidence: Tensor | None) -> dict[str, Tensor]:
        """The vectors of the users and of items (B, C), and evidence (B, C, E) of those."""
        assert requests.user is not None
        found = {"user": self.users.lookup(requests.user), "items": self.items.lookup(items)}
        return ranked_rows(found, items, evidence, self.evidence)

    def from_rows(self, rows: Mapping[str, Tensor]) -> Tensor:
        """Raw scores (B, C) from rows of users with items."""
        return with_evidence(self._scores(rows["user"], rows["items"]), self.evidence, rows)

    def _scores(self, users: Tensor, others: Tensor) -> Tensor:
        """Scores (B, C) of users (B, F+H) and items (B, C, F+H)."""
        parts = list[Tensor]()
        factors, half = self.widths
        product, beside = torch.split(users, [factors, half], dim=-1)  # one gradient, where slices would each have one
        product_of, beside_of = torch.split(others, [factors, half], dim=-1)
        if factors:
            parts.append(product[:, None] * product_of)  # (B, C, F)
        if half:
            parts.append(side_by_side(self.hidden, beside, beside_of))
        scores: Tensor = self.prediction(torch.cat(parts, dim=-1))
        return scores.squeeze(-1)

    def score(self, requests: Requests, candidates: Candidates) -> Tensor:
        """Raw scores (B, C); the empty slots' are meaningless."""
        return self._score(requests, candidates.items, candidates.evidence, None)

    def loss(self, examples: Examples) -> Tensor:
        """The loss that the settings name, over sampled negatives or over a retriever's labelled candidates."""
        return ranking_loss(self._score, examples, loss=self.settings.loss)

    def _score(self, requests: Requests, items: Tensor, evidence: Tensor | None, _: Tensor | None) -> Tensor:
        plain = evidence is not None or not self.widths[1] or self.users.has_grown or self.items.has_grown
        if plain or not torch.is_grad_enabled() or items.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
            return self.from_rows(self.rows(requests, items, evidence))
        assert requests.user is not None
        users, others = self.users.embedding.weight, self.items.embedding.weight
        return two_path_scores(users, others, requests.user, items, self.hidden, self.prediction)
