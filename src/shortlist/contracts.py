"""The few types that pass between the stages; who reads this page and the tree knows the system.

Letters, everywhere: B requests, T history steps, S targets per request, C candidates per request, N negatives,
D embedding width, E kinds of evidence. Index 0 is unknown/padding for users and items alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from shortlist.candidates import Candidates, Filter, Stages
from shortlist.features import FeatureLayout, Features, Ragged
from shortlist.interactions import Interactions
from shortlist.layered import AnyFeatures
from shortlist.pools import Pools

When = Literal["first", "each"]  # a part is asked once per row, before its first own event, or before each of them

__all__ = [
    "AnyFeatures", "Batches", "CandidateSource", "Candidates", "Catalogue", "CountsEvents", "DecaysWeights", "EvaluationBatch", "Examples", "FeatureLayout",
    "Features", "Filter", "Grown", "Interactions", "ItemIndex", "KnowsItemFeatures", "LearnsUsers", "ModelSettings", "Pretrained", "Ragged", "Ranker",
    "Requests", "Retriever", "Sampling", "SearchSpeed", "Solver", "Stages", "Trainable", "When",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Requests:
    """What is known when B users ask. A network sees only this when it serves."""

    user: Tensor | None = None  # (B,) index, 0 = unknown
    history: Tensor | None = None  # (B, T) item indices, oldest first, right-padded with 0
    length: Tensor | None = None  # (B,) events in each history
    history_time: Tensor | None = None  # (B, T) seconds since 1970
    time: Tensor | None = None  # (B,) when the request is made
    user_features: Features | None = None  # B rows
    context: Features | None = None  # B rows

    def __len__(self) -> int:
        parts = (self.user, self.history, self.user_features, self.context)
        return next((len(part) for part in parts if part is not None), 0)

    def take(self, rows: Tensor) -> Requests:
        """The given requests (B',), in that order."""
        parts: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name, part in parts.items():
            parts[name] = None if part is None else part.take(rows) if isinstance(part, Features) else part[rows]
        return Requests(**parts)

    def latest(self, steps: int) -> Requests:
        """The same with the last ``steps`` events of each history: what a model with that window asks for by itself."""
        if self.history is None or self.length is None or self.history.shape[1] <= steps:
            return self
        if steps == 0:
            return replace(self, history=None, length=None, history_time=None)
        length, step = self.length.clamp(max=steps), torch.arange(steps, device=self.length.device)
        places, kept = (self.length - length)[:, None] + step, step < length[:, None]  # (B, T')
        history, time = (
            None if values is None else values.gather(1, places).masked_fill(~kept, 0)
            for values in (self.history, self.history_time)
        )
        return replace(self, history=history, length=length, history_time=time)


@dataclass(frozen=True, slots=True)
class Examples:
    """Requests and what happened next. A network sees this only inside ``loss()``.

    Shared negatives are a sample of distinct items that also holds every target of the batch (so a target is a negative
    of the other requests): ``target_column`` says where each request's own stands. Without ``target_column`` they are
    drawn apart from the targets. With ``pools`` a target is a negative in its own group of requests alone.

    A sequence has a target for each of its steps (S = T): ``items[b, s]`` came after history step ``s``, or after
    ``step[b, s]`` where events of one time must not see each other. An item 0 is no target.
    """

    requests: Requests
    items: Tensor  # (B, S)
    targets: Tensor | None = None  # (B, S) 0/1 labels or ratings; None: all are positives
    weights: Tensor | None = None  # (B, S)
    negatives: Tensor | None = None  # (N,) shared, or (B, S, N)
    negatives_log_prob: Tensor | None = None  # as negatives: log of the chance to be in the sample
    target_column: Tensor | None = None  # (B,), or (B, S) of sequences: the target's place among shared negatives
    step: Tensor | None = None  # (B, S) the last history step known before each target of a sequence
    pools: Pools | None = None  # of the requests; None: one pool
    also_positive: Tensor | None = None  # (B, N) bool: shared negatives that are the user's other positives
    request: Tensor | None = None  # (B,) ascending, of pairs whose R requests say but who asks; also_positive: (R, N)
    evidence: Tensor | None = None  # (B, S, E)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class EvaluationBatch:
    """Requests with the items that came next (what evaluation compares an answer with)."""

    requests: Requests
    targets: Tensor  # (B, S) item indices, padded with 0
    filter: Filter
    history_size: Tensor  # (B,) events known of each user
    unknown: Tensor | None = None  # (B,) how many more items came next that no vocabulary has; None: there are none


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The sizes and item features a network is built for. Tables have one row more than there are ids: the unknown 0."""

    num_users: int
    num_items: int
    item_features: AnyFeatures | None = None  # num_items+1 rows
    user_features: FeatureLayout | None = None
    context: FeatureLayout | None = None
    evidence: int = 0  # E, the width of the evidence a ranker gets
    events: int = 0  # training events, for priors
    crosses: tuple[tuple[tuple[str, int], ...], ...] = ()  # of each crossed column: (whose, which field) of its parts

    def with_evidence(self, width: int) -> Catalogue:
        """The same for a ranker that also gets ``width`` kinds of evidence."""
        return replace(self, evidence=width)


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which :class:`Examples` a model trains on.

    ``pairs``: one target a row, with the history before it; negatives are uniform, drawn anew each epoch and never one of the
    user's positives. ``ratings``: targets are the ratings. ``labels``: they are the 0/1 labels of all events, or pairs where
    the data has none. ``sequences``: a row is a stretch of a sequence with a target after each of its steps.
    """

    kind: Literal["pairs", "ratings", "labels", "sequences"] = "pairs"
    history: int = 0  # T, steps of history a request carries; 0: none
    ordered: bool = True  # False: of pairs, the history is drawn from all else that the user likes, before or after
    negatives: int = 0  # N for each target: Examples.negatives is (B, S, N)
    avoid_positives: bool = True  # such negatives are never one of the user's positives
    shared_negatives: int = 0  # for the whole batch: Examples.negatives is (N,)
    in_batch: bool = True  # the batch's targets join the shared negatives
    popularity_power: float = 0.0  # shared negatives are drawn by training counts to this power; 0: uniformly
    hard_negatives: int = 0  # further ones of each request's own, from the network's best wrong answers
    hard_pool: int = 100  # of so many best wrong answers they are drawn
    hard_after: int = 2  # epochs without them
    mixed_lengths: bool = False  # True: sequences of all lengths in a batch, padded to the history
    shuffled: bool = True  # False: sequences come in the order of their last events, so that the newest are learnt last
    windows: Literal["all", "last"] = "all"  # of a sequence longer than the history: every event, or its last ones


@runtime_checkable
class Trainable(Protocol):
    """A network that learns by gradient."""

    def loss(self, examples: Examples, /) -> Tensor: ...


@runtime_checkable
class LearnsUsers(Protocol):
    """A network with a vector for each user."""

    def forget_users(self, users: Tensor, /) -> None: ...  # (N,) whom training will not meet: as good as unknown


@runtime_checkable
class KnowsItemFeatures(Protocol):
    """A network that can tell an item by its features alone."""

    def forget_items(self, items: Tensor, /) -> None: ...  # (N,) which training will not meet: they have no id


@runtime_checkable
class DecaysWeights(Protocol):
    """A network some of whose parameters have a weight decay of their own."""

    def weight_decays(self) -> dict[nn.Parameter, float]: ...


@runtime_checkable
class CountsEvents(Protocol):
    """A network that is shown all it will learn from once before training."""

    def count(self, examples: Examples, /) -> None: ...


@runtime_checkable
class Pretrained(Protocol):
    """A network that can start from what others have learnt."""

    def start_from(self, initial: Mapping[str, nn.Module], /) -> None: ...


@runtime_checkable
class Solver(Protocol):
    """A model that is computed from all interactions at once (popularity, item-kNN, ALS)."""

    def solve(self, interactions: Interactions, /) -> None: ...


@runtime_checkable
class Grown(Protocol):
    """A model that is grown from all examples at once, epoch upon epoch, and can go back to fewer (boosted trees)."""

    def grow(
        self, examples: Iterable[Examples], /, *, epochs: int, learning_rate: float, seed: int, threads: int
    ) -> list[float]: ...  # the training loss after each epoch

    def use(self, epochs: int, /) -> None: ...  # score by the first so many epochs alone

    def keep(self, epochs: int, /) -> None: ...  # forget what came after the first so many


@runtime_checkable
class CandidateSource(Protocol):
    """Finds candidates by itself, without an index over vectors: always ``k`` slots, some perhaps empty."""

    def search(self, requests: Requests, k: int, *, filter: Filter | None = None) -> Candidates: ...

    def can_serve(self, requests: Requests, /) -> Tensor: ...  # (B,) bool: enough is known of the user


@runtime_checkable
class Retriever(Protocol):
    """Scores by dot product, so that an index over item vectors can search."""

    def embed_requests(self, requests: Requests, /) -> Tensor: ...  # (B, D)

    def embed_items(self, items: Tensor, /) -> Tensor: ...  # (…, D)

    def can_serve(self, requests: Requests, /) -> Tensor: ...  # (B,) bool: enough is known of the user


@runtime_checkable
class Ranker(Protocol):
    """Orders the candidates of a request. ``link`` turns its raw scores into what it predicts."""

    link: Literal["sigmoid", "identity"]

    def score(self, requests: Requests, candidates: Candidates, /) -> Tensor: ...  # (B, C) raw scores


@dataclass(frozen=True, slots=True)
class SearchSpeed:
    """How well and how fast an index answers with one setting of its effort."""

    setting: str
    recall: float  # of the exact k best, the part that was found
    queries_per_s: float  # all queries in one call
    is_used: bool  # this is how the index is searched now


class ItemIndex(Protocol):
    """Maximum inner product search over item vectors, by item index."""

    def search(self, queries: Tensor, k: int, *, filter: Filter | None = None) -> Candidates: ...

    def add(self, items: Tensor, vectors: Tensor) -> None: ...
    def replace(self, items: Tensor, vectors: Tensor) -> None: ...
    def remove(self, items: Tensor) -> None: ...

    def copy(self) -> ItemIndex: ...  # edited apart from this one

    def __len__(self) -> int: ...

    def holds(self, items: Tensor) -> Tensor: ...  # which of items (N,) it can answer

    def alive(self) -> tuple[Tensor, Tensor]: ...  # items (n,) it can answer, and their vectors (n, D)

    def parts(self) -> tuple[tuple[Tensor, Tensor], ...]: ...  # the same as they lie, with vectors of item 0

    def sweep(self) -> tuple[SearchSpeed, ...]: ...  # by other settings of its effort than its own, too

    @property
    def report(self) -> object: ...  # what was measured of it: recall against exact search, speed, size

    def arrays(self) -> dict[str, Tensor]: ...  # all it needs to be rebuilt by its settings' restore()


class ModelSettings(Protocol):
    """A frozen dataclass with a model's hyper-parameters; it knows how to build the network."""

    recommended: ClassVar[Mapping[str, Any]]  # Training settings that suit the model

    @property
    def sampling(self) -> Sampling | None: ...  # None: a Solver

    def build(self, catalogue: Catalogue) -> nn.Module: ...


class Batches(Protocol):
    """Training examples by number: ``get`` depends on (seed, epoch, step) alone, so that a resumed run repeats it."""

    @property
    def num_steps(self) -> int: ...  # steps of one epoch

    @property
    def num_examples(self) -> int: ...  # of one epoch

    def get(self, epoch: int, step: int) -> Examples: ...
