"""SASRec: self-attention over a user's history predicts the next item after each of its steps.

Kang & McAuley 2018, "Self-attentive sequential recommendation", as its authors' code computes it; the modern parts are
settings: gBCE (Petrov & Macdonald 2023), full and sampled softmax (Klenitskiy & Vasilev 2023), LiGR (Tikhonovich 2025).
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
from shortlist.models.dropout import Dropout
from shortlist.models.layers import Table
from shortlist.models.sequences import LastSteps, Predictions, in_pieces, recent
from shortlist.models.transformer import BLOCKS, Block

Loss = Literal["bce", "gbce", "softmax", "sampled_softmax"]
Similarity = Literal["dot", "cosine"]
Windows = Literal["all", "last"]


@dataclass(frozen=True, slots=True)
class SASRec:
    """Settings of SASRec.

    ``history`` is the window: how many of a user's last events it looks at. ``loss`` compares the next item with all
    items (``softmax``), with ``negatives`` uniform ones that the batch shares (``sampled_softmax``), or with
    ``negatives`` of its own (``gbce`` with its ``calibration`` t; ``bce``, where they are never the user's positives).
    With ``similarity="cosine"`` scores are cosines, to be divided by a ``temperature`` such as 0.05 in training.
    ``shuffled=False`` learns sequences in the order of their last events, the newest last in every epoch.
    With ``mixed_lengths`` a batch holds sequences of all lengths, as the authors' do: half as fast, a little better with one
    negative on MovieLens-1M. ``windows`` says what is learnt of histories longer than the window: "all" of their events, or their "last" ones.

    The authors' model is ``SASRec(embedding_dim=50, block="authors", loss="bce", negatives=1, windows="last")``, trained
    with ``Training(batch_size=128, learning_rate=1e-3, betas=(0.9, 0.98))``.
    """

    embedding_dim: int = 64
    history: int = 200
    num_blocks: int = 2
    num_heads: int = 1
    dropout: float = 0.2
    block: Block = "authors"
    loss: Loss = "softmax"
    negatives: int = 256
    calibration: float = 0.75
    similarity: Similarity = "dot"
    temperature: float = 1.0
    windows: Windows = "all"
    shuffled: bool = True
    mixed_lengths: bool = False
    epsilon: float = 1e-8

    recommended: ClassVar[Mapping[str, Any]] = {"learning_rate": 1e-3, "batch_size": 128}

    def __post_init__(self) -> None:
        whole = ("embedding_dim", "history", "num_blocks", "num_heads", "negatives")
        check_ranges(self, whole=whole, shares=("dropout",), above_0=("temperature",))
        if self.embedding_dim % self.num_heads:
            raise SettingsError(
                f"SASRec.embedding_dim is {self.embedding_dim} and num_heads {self.num_heads}. The heads share the width "
                "in equal parts: make it a multiple."
            )
        if not 0 <= self.calibration <= 1:
            raise SettingsError(f"SASRec.calibration is {self.calibration}. It is a number from 0 to 1.")
        check_choices(self, {"block": Block, "loss": Loss, "similarity": Similarity, "windows": Windows})

    @property
    def sampling(self) -> Sampling:
        """Sequences with a target after each step, and the negatives that the loss needs."""
        own = self.negatives if self.loss in ("bce", "gbce") else 0
        shared = self.negatives if self.loss == "sampled_softmax" else 0
        return Sampling(
            "sequences",
            history=self.history,
            negatives=own,
            avoid_positives=self.loss == "bce",
            shared_negatives=shared,
            in_batch=False,
            windows=self.windows,
            shuffled=self.shuffled,
            mixed_lengths=self.mixed_lengths,
        )

    def build(self, catalogue: Catalogue) -> nn.Module:
        """The network, freshly initialised."""
        return SASRecNetwork(self, catalogue)


class SASRecNetwork(nn.Module):
    """Item vectors, one table for the input and the output; positions; blocks; a last normalisation.

    Positions are counted from the window's end, as if histories were padded on the left: the newest event always has
    the same one.
    """

    axes: ClassVar[Mapping[str, str]] = {"vectors": "BTD", "length": "B"}

    def __init__(self, settings: SASRec, catalogue: Catalogue) -> None:
        super().__init__()
        self.settings = settings
        width = settings.embedding_dim
        self.items = Table(catalogue.num_items, width, std=None)
        self.positions = nn.Parameter(nn.init.xavier_uniform_(torch.empty(settings.history, width)))
        self.dropout = Dropout(settings.dropout)
        block = BLOCKS[settings.block]
        self.blocks = nn.ModuleList(
            block(width, settings.num_heads, settings.dropout, epsilon=settings.epsilon)
            for _ in range(settings.num_blocks)
        )
        self.norm = nn.LayerNorm(width, eps=settings.epsilon)

    def can_serve(self, requests: Requests) -> Tensor:
        """Which requests (B,) have a known item in their history."""
        assert requests.history is not None
        return (requests.history > 0).any(1)

    def forward(self, history: Tensor, length: Tensor) -> Tensor:
        """Hidden states (B, T, D) after each step of the histories (B, T); those of padding mean nothing."""
        return self._states(self.items.lookup(history), length)

    def _states(self, vectors: Tensor, length: Tensor) -> Tensor:
        """The hidden states (B, T, D) after steps with these item vectors."""
        states = self._inputs(vectors, self._positions(length, vectors.shape[1]))
        for block in self.blocks:
            states = block(states)
        normal: Tensor = self.norm(states)
        return normal

    def embed_requests(self, requests: Requests) -> Tensor:
        """Vectors (B, D): the state after the last known event, 0 for an empty history."""
        return in_pieces(lambda some: self.from_rows(self.rows(some)), requests)

    def rows(self, requests: Requests) -> dict[str, Tensor]:
        """The item vectors (B, T, D) of what is known of each history, and how long it is (B,)."""
        history, length = recent(requests, self.settings.history)
        return {"vectors": self.items.lookup(history), "length": length}

    def from_rows(self, rows: Mapping[str, Tensor]) -> Tensor:
        """Vectors (B, D) from rows of requests. The last block is computed for the last step alone."""
        vectors, length = rows["vectors"], rows["length"]
        steps = vectors.shape[1]
        if steps == 0:
            return vectors.new_zeros(len(vectors), vectors.shape[2])
        last = LastSteps.of(length, steps)
        whole = last.place is None  # then all sequences have the same positions
        states = self._inputs(vectors, self.positions[-steps:] if whole else self._positions(length, steps))
        *earlier, final = self.blocks
        for block in earlier:
            states = block(states)
        return self._compared(last.known(self.norm(final(states, last)).squeeze(1)))

    def _positions(self, length: Tensor, steps: int) -> Tensor:
        """The vectors (B, T, D) of the places of each sequence's steps; those of padding mean nothing."""
        place = len(self.positions) - length[:, None] + torch.arange(steps, device=length.device)  # (B, T)
        return F.embedding(place.clamp(max=len(self.positions) - 1), self.positions)

    def _inputs(self, vectors: Tensor, positions: Tensor) -> Tensor:
        """Item vectors and positions (B, T, D): what the first block reads."""
        states: Tensor = self.dropout(torch.add(positions, vectors, alpha=vectors.shape[2] ** 0.5))
        return states

    def embed_items(self, items: Tensor) -> Tensor:
        """Vectors (…, D) of items (…)."""
        return self._compared(self.items.lookup(items))

    def loss(self, examples: Examples) -> Tensor:
        """The loss that the settings name, over every step that has a next item."""
        requests, settings = examples.requests, self.settings
        assert requests.history is not None
        assert requests.length is not None
        found = Predictions.of(examples)
        if settings.loss not in ("softmax", "gbce"):
            return self._against_negatives(requests.history, requests.length, found)
        queries = self._compared(found.queries(self(requests.history, requests.length)))
        candidates, columns = self._compared(self.items.all()), found.items - 1
        if settings.loss == "softmax":
            return losses.sampled_softmax(
                queries, candidates, columns, temperature=settings.temperature, weights=found.weights
            )
        assert found.negatives is not None
        return losses.gbce(
            queries,
            candidates,
            columns,
            found.negatives - 1,
            calibration=settings.calibration,
            temperature=settings.temperature,
            weights=found.weights,
        )

    def _against_negatives(self, history: Tensor, length: Tensor, found: Predictions) -> Tensor:
        assert found.negatives is not None
        read, *compared = self.items.lookup_all(history, found.items, found.negatives)
        queries = self._compared(found.queries(self._states(read, length)))
        liked, other = (self._compared(vectors) for vectors in compared)
        positive = (queries * liked).sum(1) / self.settings.temperature  # (M,)
        if self.settings.loss == "bce":
            against = (queries[:, None] * other).sum(2)  # (M, N)
            return losses.bce(positive, against / self.settings.temperature, found.weights)
        against = (queries @ other.T).to(queries.dtype) / self.settings.temperature  # (M, N)
        against = against.masked_fill(found.items[:, None] == found.negatives, -torch.inf)
        return losses.softmax(positive, against, found.weights)

    def _compared(self, vectors: Tensor) -> Tensor:
        """Vectors as they enter a dot product."""
        return F.normalize(vectors, dim=-1) if self.settings.similarity == "cosine" else vectors
