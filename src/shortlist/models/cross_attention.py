"""Cross-attention ranker: each candidate looks at the user's history, and perhaps at the other candidates, to be scored.

After target attention (Zhou et al. 2018, "Deep interest network") with the transformer's block (Vaswani et al. 2017), and
list-wise self-attention over the candidates (Pei et al. 2019, "Personalized re-ranking for recommendation").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shortlist.contracts import Candidates, Catalogue, Examples, Requests, Sampling
from shortlist.errors import SettingsError, check_choices, check_ranges
from shortlist.models.dropout import Dropout
from shortlist.models.fields import Fields
from shortlist.models.layers import EvidenceHead, linear
from shortlist.models.ranking import FIELD_ROWS, RankingLoss, ranked_rows, ranker_sampling, ranking_loss, with_evidence


@dataclass(frozen=True, slots=True)
class CrossAttention:
    """Settings of the cross-attention ranker.

    A candidate is the sum of its item's and its features' vectors; it attends in ``num_blocks`` blocks over the last
    ``history`` items, newest first known by their places, and over the user's and the context's fields. With
    ``listwise`` the candidates then attend over each other, which only makes sense where they are trained and served as
    the same lists: ``fit(…, candidates_from=retriever)``. ``loss``, ``negatives`` and labels as in NeuMF.
    """

    embedding_dim: int = 64
    history: int = 50
    num_blocks: int = 1
    num_heads: int = 2
    dropout: float = 0.1
    listwise: bool = False
    loss: RankingLoss = "softmax"
    negatives: int = 16
    init_std: float = 0.05

    recommended: ClassVar[Mapping[str, Any]] = {"learning_rate": 1e-3, "batch_size": 1024}

    def __post_init__(self) -> None:
        check_ranges(self, whole=("embedding_dim", "history", "num_blocks", "num_heads"), shares=("dropout",))
        if self.embedding_dim % self.num_heads:
            raise SettingsError(
                f"CrossAttention.embedding_dim is {self.embedding_dim} and num_heads {self.num_heads}. The heads share the "
                "width in equal parts: make it a multiple."
            )
        check_choices(self, {"loss": RankingLoss})

    @property
    def sampling(self) -> Sampling:
        """Labels, pairs with negatives, or ratings; each with a history."""
        return ranker_sampling(self.loss, negatives=self.negatives, history=self.history)

    def build(self, catalogue: Catalogue) -> nn.Module:
        """The network, freshly initialised."""
        if catalogue.num_items == 0:
            raise SettingsError(
                "CrossAttention ranks items by histories, and the data is a table of rows without items."
            )
        return CrossAttentionNetwork(self, catalogue)


class CrossAttentionNetwork(nn.Module):
    """score = w . x + b of candidates x after their blocks, where what they look at is the same for all of a request's."""

    link: Literal["sigmoid", "identity"]
    axes: ClassVar[Mapping[str, str]] = {
        **FIELD_ROWS,
        "history": "BTFD",
        "history_numbers": "BTG",
        "known": "BT",
        "newer": "BT",
    }

    def __init__(self, settings: CrossAttention, catalogue: Catalogue) -> None:
        super().__init__()
        self.settings = settings
        self.link = "identity" if settings.loss == "mse" else "sigmoid"
        width, init = settings.embedding_dim, partial(nn.init.normal_, std=settings.init_std)
        self.fields = Fields(catalogue, width, init=init)
        self.places = nn.Parameter(init(torch.empty(settings.history, width)))  # the newest event's first
        self.nothing = nn.Parameter(init(torch.empty(width)))  # what a request without any history still shows
        self.request_numbers = self.pair_numbers = None
        if self.fields.num_request_numbers:
            self.request_numbers = linear(self.fields.num_request_numbers, width)
        if self.fields.num_pair_numbers:
            self.pair_numbers = linear(self.fields.num_pair_numbers, width)
        self.memory_norm = nn.LayerNorm(width)
        parts = (width, settings.num_heads, settings.dropout)
        self.blocks = nn.ModuleList(AttentionBlock(*parts) for _ in range(settings.num_blocks))
        self.among = AttentionBlock(*parts) if settings.listwise else None
        self.norm = nn.LayerNorm(width)
        self.output = linear(width, 1)
        self.evidence = EvidenceHead(catalogue.evidence) if catalogue.evidence else None

    def forget_users(self, users: Tensor) -> None:
        """Treat the users (N,) as unknown: training will not meet them."""
        self.fields.forget_users(users)

    def count(self, examples: Examples) -> None:
        """Count what training will learn from, for the crossed columns."""
        self.fields.count(examples)

    def rows(
        self, requests: Requests, items: Tensor, evidence: Tensor | None, own: Tensor | None = None
    ) -> dict[str, Tensor]:
        """What the table and the columns hold for requests with items (B, C), and evidence (B, C, E) of those.

        Of the history (B, T), whose places are counted by how many known events are ``newer``, the last ones are ``known``.
        """
        assert requests.history is not None
        known = requests.history > 0
        newer = known.long().flip(1).cumsum(1).flip(1) - 1  # (B, T)
        known = known & (newer < len(self.places))
        found = self.fields.rows(requests, items, own) | {"known": known, "newer": newer}
        vectors, numbers = self.fields.of_items(requests.history.masked_fill(~known, 0))
        found |= {"history": vectors} | ({"history_numbers": numbers} if numbers.shape[2] else {})
        return ranked_rows(found, items, evidence, self.evidence)

    def from_rows(self, rows: Mapping[str, Tensor]) -> Tensor:
        """Raw scores (B, C) from rows of requests with items."""
        memory, seen = self._memory(rows)
        candidates = self._joined(rows["pair"], rows.get("pair_numbers"))  # (B, C, D)
        for block in self.blocks:
            candidates = block(candidates, memory, seen)
        if self.among is not None:
            valid = rows["valid"]
            valid = valid | ~valid.any(1, keepdim=True)
            candidates = self.among(candidates, F.layer_norm(candidates, (self.settings.embedding_dim,)), valid)
        scores: Tensor = self.output(self.norm(candidates))
        return with_evidence(scores.squeeze(2), self.evidence, rows)

    def score(self, requests: Requests, candidates: Candidates) -> Tensor:
        """Raw scores (B, C); the empty slots' are meaningless."""
        return self._score(requests, candidates.items, candidates.evidence, None)

    def loss(self, examples: Examples) -> Tensor:
        """The loss that the settings name, over labels, sampled negatives or a retriever's labelled candidates."""
        return ranking_loss(self._score, examples, loss=self.settings.loss)

    def _score(self, requests: Requests, items: Tensor, evidence: Tensor | None, own: Tensor | None) -> Tensor:
        return self.from_rows(self.rows(requests, items, evidence, own))

    def _memory(self, rows: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What a request shows (B, M, D): its history, its fields, and a vector that is always there; and which count (B, M)."""
        known, newer = rows["known"], rows["newer"]
        shown = self._joined(rows["history"], rows.get("history_numbers"))
        tokens = [shown + self.places[newer.clamp(min=0, max=len(self.places) - 1)]]
        tokens += [rows["request"]] if "request" in rows else []
        tokens.append(self.nothing.expand(known.shape[0], 1, -1))
        if self.request_numbers is not None:
            tokens.append(self.request_numbers(rows["request_numbers"])[:, None])
        memory = torch.cat(tokens, dim=1)
        always = known.new_ones(known.shape[0], memory.shape[1] - known.shape[1])
        return self.memory_norm(memory), torch.cat((known, always), dim=1)

    def _joined(self, vectors: Tensor, numbers: Tensor | None) -> Tensor:
        """Items (B, C, D) from their fields' vectors (B, C, F, D) and numbers (B, C, G)."""
        joined = vectors.sum(2)
        if self.pair_numbers is None:
            return joined
        if numbers is None:  # a history whose only numbers would be crossed columns, which it has none of
            numbers = vectors.new_zeros(*vectors.shape[:2], 0)
        missing = self.fields.num_pair_numbers - numbers.shape[2]
        added: Tensor = self.pair_numbers(F.pad(numbers, (0, missing)))
        return joined + added


class AttentionBlock(nn.Module):
    """x + attention(norm(x), memory), then x + perceptron(norm(x)), with dropout on what is added."""

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query_norm, self.feed_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.mixed = linear(width, width), linear(width, width)
        self.key, self.value = linear(width, width, bias=False), linear(width, width)
        self.inner, self.outer = linear(width, 2 * width), linear(2 * width, width)
        self.dropout = Dropout(dropout)

    def forward(self, values: Tensor, memory: Tensor, seen: Tensor) -> Tensor:
        """Values (B, C, D) after a look at memory (B, M, D), of which ``seen`` (B, M) counts."""
        query, key, value = (
            self._heads(part) for part in (self.query(self.query_norm(values)), self.key(memory), self.value(memory))
        )
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=seen[:, None, None])
        values = values + self.dropout(self.mixed(found.transpose(1, 2).flatten(2)))
        fed: Tensor = self.dropout(self.outer(F.gelu(self.inner(self.feed_norm(values)))))
        return values + fed

    def _heads(self, states: Tensor) -> Tensor:
        size = states.shape[2] // self.num_heads
        return states.view(*states.shape[:2], self.num_heads, size).transpose(1, 2)
