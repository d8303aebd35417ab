"""GRU4Rec: a recurrent network over a session predicts the next item after each of its events.

Hidasi et al. 2016, "Session-based recommendations with recurrent neural networks"; losses of Hidasi & Karatzoglou 2018,
"Recurrent neural networks with top-k gains"; details as in the authors' release (github.com/hidasib/GRU4Rec_PyTorch_Official).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shortlist.contracts import Catalogue, Examples, Requests, Sampling
from shortlist.errors import SettingsError, check_choices, check_ranges
from shortlist.models import losses
from shortlist.models.dropout import Dropout
from shortlist.models.layers import Table
from shortlist.models.sequences import Predictions, in_pieces, last_state, recent

Loss = Literal["softmax", "sampled_softmax", "bpr_max", "top1_max"]
Embedding = Literal["tied", "separate"]
Similarity = Literal["dot", "cosine"]


@dataclass(frozen=True, slots=True)
class GRU4Rec:
    """Settings of GRU4Rec.

    ``hidden`` are the widths of the GRU layers; the last one is the width of the item vectors that scores compare with.
    ``embedding="tied"`` feeds the same vectors in, ``"separate"`` others of ``embedding_dim`` numbers. ``loss`` compares
    the next item with all items (``softmax``), or with the batch's other targets (of a large batch, with those of its
    group of some 450) and ``negatives`` more, drawn by popularity to the power ``popularity_power``: cross-entropy corrected by ``logq`` times the log chance to be in that
    sample (``sampled_softmax``), ``bpr_max`` with its ``regularization``, or ``top1_max``; the last two see scores through
    an ELU with alpha ``elu`` (0: as they are). ``history`` is the longest stretch of a session that is read at once.
    With ``similarity="cosine"`` scores are cosines without item biases, divided by ``temperature`` in training.
    ``shuffled=False`` keeps sessions in their order in time, so that the newest are learnt last, as the authors do: what
    comes next is nearer to them. ``sparse`` gradients hold only the items that a batch meets: many times faster where the catalogue is large, and for
    Adagrad, the authors' optimiser, alone.

    The authors step many sessions side by side, one event at a time: the hidden state is carried on, but no gradient
    flows back through it, and the negatives are the other sessions' targets of that step. Here whole sessions go through
    ``nn.GRU``: gradients flow to a session's start, negatives are the targets of all steps of the group's other sessions,
    each item once. ``benchmarks/gru4rec_fidelity.py`` compares the two on the same data. The cell that reads
    items without an embedding (the release's third mode) is left out.
    """

    hidden: tuple[int, ...] = (100,)
    embedding: Embedding = "tied"
    embedding_dim: int = 100  # of a separate embedding
    history: int = 50
    embedding_dropout: float = 0.0
    dropout: float = 0.0  # of what the GRU puts out
    loss: Loss = "sampled_softmax"
    negatives: int = 2048
    popularity_power: float = 0.5
    logq: float = 1.0
    regularization: float = 0.0
    elu: float = 0.0
    similarity: Similarity = "dot"
    temperature: float = 1.0
    shuffled: bool = True
    sparse: bool = False

    recommended: ClassVar[Mapping[str, Any]] = {"learning_rate": 2e-3, "batch_size": 128}

    def __post_init__(self) -> None:
        if not isinstance(self.hidden, tuple) or not self.hidden or min(self.hidden) < 1:
            raise SettingsError(
                f"GRU4Rec.hidden is {self.hidden}. It is a tuple of each GRU layer's width, such as (100,)."
            )
        check_ranges(
            self,
            whole=("embedding_dim", "history"),
            shares=("embedding_dropout", "dropout"),
            above_0=("temperature",),
            from_0=("negatives", "popularity_power", "logq", "regularization", "elu"),
        )
        if self.sparse and self.loss == "softmax":
            raise SettingsError("GRU4Rec.sparse is for a sample of the items, and loss = 'softmax' meets them all.")
        check_choices(self, {"embedding": Embedding, "loss": Loss, "similarity": Similarity})

    @property
    def sampling(self) -> Sampling:
        """Sequences with a target after each step, and a sample of items that the batch shares."""
        shared = 0 if self.loss == "softmax" else self.negatives
        return Sampling(
            "sequences",
            history=self.history,
            shared_negatives=shared,
            popularity_power=self.popularity_power,
            shuffled=self.shuffled,
        )

    def build(self, catalogue: Catalogue) -> nn.Module:
        """The network, freshly initialised."""
        return GRU4RecNetwork(self, catalogue)


class GRU4RecNetwork(nn.Module):
    """Item vectors and biases, GRU layers over the session, and a dot product of the last state with the item vectors."""

    axes: ClassVar[Mapping[str, str]] = {"vectors": "BTD", "length": "B"}

    def __init__(self, settings: GRU4Rec, catalogue: Catalogue) -> None:
        super().__init__()
        self.settings = settings
        width = settings.hidden[-1]
        sparse = settings.sparse
        self.items = Table(catalogue.num_items, width, std=None, sparse=sparse)
        self.item_bias = Table(catalogue.num_items, 1, std=0.0, sparse=sparse) if settings.similarity == "dot" else None
        self.inputs: Table | None = None
        inputs = width
        if settings.embedding == "separate":
            inputs = settings.embedding_dim
            self.inputs = Table(catalogue.num_items, inputs, std=None, sparse=sparse)
        self.embedding_dropout, self.dropout = Dropout(settings.embedding_dropout), Dropout(settings.dropout)
        sizes = (inputs, *settings.hidden)
        self.layers = nn.ModuleList(nn.GRU(before, after, batch_first=True) for before, after in pairwise(sizes))
        for layer in self.layers:
            for name, parameter in layer.named_parameters():
                if name.startswith("bias"):
                    nn.init.zeros_(parameter)
                else:  # Glorot-uniform for each gate by itself
                    for gate in parameter.data.chunk(3):
                        nn.init.xavier_uniform_(gate)

    def can_serve(self, requests: Requests) -> Tensor:
        """Which requests (B,) have a known item in their history."""
        assert requests.history is not None
        return (requests.history > 0).any(1)

    def forward(self, history: Tensor) -> Tensor:
        """Hidden states (B, T, D) after each step of the histories (B, T); those of padding mean nothing."""
        return self._states(self._table.lookup(history))

    @property
    def _table(self) -> Table:
        """Where the GRU's inputs are looked up."""
        return self.items if self.inputs is None else self.inputs

    def _states(self, inputs: Tensor) -> Tensor:
        """The hidden states (B, T, D) after inputs (B, T, …)."""
        states: Tensor = self.embedding_dropout(inputs)
        if not states.shape[1]:
            return states.new_zeros(len(states), 0, self.items.width)
        for layer in self.layers:
            states = self.dropout(layer(states)[0])
        return states

    def embed_requests(self, requests: Requests) -> Tensor:
        """Vectors (B, D+1), or (B, D) of cosines: the state after the last known event, 0 for an empty history."""
        return in_pieces(lambda some: self.from_rows(self.rows(some)), requests)

    def rows(self, requests: Requests) -> dict[str, Tensor]:
        """What the GRU reads (B, T, …) of what is known of each history, and how long it is (B,)."""
        history, length = recent(requests, self.settings.history)
        return {"vectors": self._table.lookup(history), "length": length}

    def from_rows(self, rows: Mapping[str, Tensor]) -> Tensor:
        """Vectors (B, D+1), or (B, D) of cosines, from rows of requests."""
        return self._query(last_state(self._states(rows["vectors"]), rows["length"]))

    def embed_items(self, items: Tensor) -> Tensor:
        """Vectors (…, D+1), or (…, D) of cosines, of items (…)."""
        bias = None if self.item_bias is None else self.item_bias.lookup(items)
        return self._compared(self.items.lookup(items), bias)

    def loss(self, examples: Examples) -> Tensor:
        """The loss that the settings name, over every step that has a next item."""
        history, settings = examples.requests.history, self.settings
        assert history is not None
        found = Predictions.of(examples)
        if settings.loss == "softmax":
            return losses.sampled_softmax(
                self._query(found.queries(self(history))),
                self._compared(self.items.all(), None if self.item_bias is None else self.item_bias.all()),
                found.items - 1,
                temperature=settings.temperature,
                weights=found.weights,
            )
        assert found.negatives is not None
        assert found.columns is not None
        assert examples.negatives_log_prob is not None
        states, candidates = self._states_and_candidates(history, found.negatives)
        queries = self._query(found.queries(states))
        log_prob = settings.logq * examples.negatives_log_prob
        if settings.loss == "sampled_softmax":
            return losses.sampled_softmax(
                queries,
                candidates,
                found.columns,
                temperature=settings.temperature,
                log_prob=log_prob,
                masked_columns=found.own_columns,
                weights=found.weights,
                corrects_positive=False,
                pools=found.pools,
            )
        rows = partial(losses.top1_max, elu=settings.elu)
        if settings.loss == "bpr_max":
            rows = partial(losses.bpr_max, regularization=settings.regularization, elu=settings.elu)
        return losses.blocked(
            rows,
            queries / settings.temperature,
            candidates,
            found.columns,
            masked_columns=found.own_columns,
            weights=found.weights,
            pools=found.pools,
        )

    def _states_and_candidates(self, history: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
        """The hidden states (B, T, D) and the vectors (N, …) to compare with; a table that serves both is read once."""
        if self.inputs is not None:
            return self(history), self.embed_items(negatives)
        inputs, vectors = self.items.lookup_all(history, negatives)
        bias = None if self.item_bias is None else self.item_bias.lookup(negatives)
        return self._states(inputs), self._compared(vectors, bias)

    def _query(self, states: Tensor) -> Tensor:
        """States (B, D) as they enter a dot product with items."""
        if self.item_bias is None:
            return F.normalize(states, dim=1)
        return torch.cat((states, torch.ones_like(states[:, :1])), dim=1)

    def _compared(self, vectors: Tensor, bias: Tensor | None) -> Tensor:
        """Item vectors (…, D) and their biases (…, 1) as they enter a dot product."""
        return F.normalize(vectors, dim=-1) if bias is None else torch.cat((vectors, bias), dim=-1)
