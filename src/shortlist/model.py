"""A trained model: its network with everything needed to use it alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from shortlist.bundle import Bundle, Part, checked_contents, read_bundle, write_bundle
from shortlist.contracts import Candidates, Catalogue, ModelSettings, Ranker, Requests, Retriever
from shortlist.data.batches import make_requests, own_events
from shortlist.data.dataset import Dataset
from shortlist.errors import RequestError, TrainingError
from shortlist.features import Features, blocks
from shortlist.placing import Placing
from shortlist.training import Training, TrainingLog
from shortlist.vocabulary import Vocabulary

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class TrainedUntil:
    """What a model has learnt from, so that nothing is trained or judged on answers it has seen.

    ``time`` is that of the newest event (None without timestamps), ``events`` how many there were, and ``extent`` a
    digest of how many each user had.
    """

    time: int | None
    events: int
    extent: str

    @classmethod
    def of(cls, dataset: Dataset) -> TrainedUntil:
        """What training on all of ``dataset``'s events amounts to."""
        events = dataset.events
        time = None if events.times is None or not len(events) else int(events.times.max())
        return cls(time, len(events), _extent(events.lengths))

    def check_later(self, dataset: Dataset, *, name: str = "The retriever") -> None:
        """Refuse labels that the model ``name`` may have learnt from: the part's own events must all come after it."""
        own = dataset.targets()
        if not len(own):
            raise TrainingError(
                "The part to learn from has no events of its own. Give a part of a split that has some."
            )
        if self.time is not None and own.times is not None:
            first = int(own.times.min())
            if first <= self.time:
                raise TrainingError(
                    f"{name} has seen events up to time {self.time}, and the ranker's labels begin at {first}: it would "
                    "learn from answers its candidates already know. Split first (split_by_time) and fit the retriever on the "
                    "earlier part, the ranker on the later one; shortlist.train does this by itself."
                )
        elif _extent(dataset.known().lengths) != self.extent:
            raise TrainingError(
                f"{name} was fitted on something else than the part's known history, and there are no timestamps to compare "
                f"({len(dataset.known())} events against {self.events}), so its labels may be among them. Make both parts with "
                "one call of a split function; shortlist.train does this by itself."
            )


@dataclass(frozen=True, slots=True)
class Model:
    """What :func:`shortlist.fit` returns. ``dataset`` is what it was fitted on: events, features, vocabularies."""

    settings: ModelSettings
    network: nn.Module
    dataset: Dataset
    catalogue: Catalogue
    trained_until: TrainedUntil
    training: Training | None = None  # None: computed in closed form
    log: TrainingLog | None = None
    placing: Placing = field(default_factory=Placing, repr=False, compare=False)  # of items that come later

    @property
    def name(self) -> str:
        """The name of its settings class, such as "SASRec"."""
        return type(self.settings).__name__

    @property
    def history(self) -> int:
        """How many events of history its requests carry."""
        return history_width(self.settings)

    def to_part(self) -> Part:
        """Its record for a bundle."""
        facts = {
            "catalogue": {
                "num_users": self.catalogue.num_users,
                "num_items": self.catalogue.num_items,
                "evidence": self.catalogue.evidence,
            },
            "trained_until": asdict(self.trained_until),
            "training": None if self.training is None else asdict(self.training),
            "log": None if self.log is None else asdict(self.log),
        }
        return Part(self.settings, dict(self.network.state_dict()), facts)

    @classmethod
    def from_part(cls, part: Part, dataset: Dataset) -> Model:
        """The model that :meth:`to_part` described; ``dataset`` brings its features and vocabularies."""
        stated = part.facts.get("catalogue", {})
        catalogue = dataset.catalogue().with_evidence(stated.get("evidence", 0))
        network = undrawn(part.settings, catalogue)
        own = network.state_dict()
        weights = {name: table.to(own[name].dtype) if name in own else table for name, table in part.weights.items()}
        network.load_state_dict(weights, assign=True)  # which are mapped from a file, and stay there
        until = part.facts.get("trained_until")
        training = part.facts.get("training")
        return cls(
            part.settings,
            network.eval(),
            dataset,
            catalogue,
            TrainedUntil.of(dataset) if until is None else msgspec.convert(until, TrainedUntil),
            None if training is None else msgspec.convert(training, Training),
            None if part.facts.get("log") is None else msgspec.convert(part.facts["log"], TrainingLog),
        )

    def save(self, path: str | Path) -> None:
        """Write the folder ``path``; :meth:`load` reads it. Of a table of rows only what the columns mean is kept."""
        known = self.dataset
        if known.schema.is_tabular:
            known = known.without_rows(torch.ones(known.events.num_rows, dtype=torch.bool))
        write_bundle(path, Bundle({"model": self.to_part()}, known))

    @classmethod
    def load(cls, path: str | Path) -> Model:
        """The model that :meth:`save` wrote; of a whole recommender's folder its ranker, or without one its retriever."""
        with checked_contents(path):
            bundle = read_bundle(path)
            return cls.from_part(bundle.parts.get("ranker", bundle.parts["model"]), bundle.dataset)

    def vectors(self) -> Tensor:
        """The vectors (I, D) of all items, by index from 1; only of a retriever."""
        return item_vectors(self.network, self.dataset.num_items)

    def score(self, pairs: pl.DataFrame) -> Tensor:
        """Raw scores (P,) of the pairs in a frame with the columns of the schema's user and item ids, and its context.

        Of a table of rows, those of its rows. Users, items and values that were never seen are scored by what the model
        makes of an unknown one.
        """
        schema, encoders = self.dataset.schema, self.dataset.encoders
        context = None if encoders.context is None else encoders.context.features
        wanted = [schema.sequence_id, schema.item_id, *(feature.name for feature in context or ())]
        for column in wanted:
            if column is not None and column not in pairs.columns:
                raise RequestError(f"pairs has no column {column!r}. Columns found: {', '.join(pairs.columns)}.")

        def indices(column: str | None, vocabulary: Vocabulary) -> Tensor:
            if column is None:
                return torch.zeros(len(pairs), dtype=torch.int64)
            return torch.from_numpy(vocabulary.encode(pairs[column].to_list())).long()

        users, items = indices(schema.sequence_id, encoders.users), indices(schema.item_id, encoders.items)
        stops = self.dataset.positives().events.offsets[users + 1]
        encoded = None if encoders.context is None else encoders.context.encode(pairs)
        return self._score(self.dataset, users, stops, items, encoded)

    def predict(self, pairs: pl.DataFrame) -> Tensor:
        """What the scores mean (P,): the probabilities of the label, or ratings; arguments as of :meth:`score`."""
        link = getattr(self.network, "link", None)
        if link is None:
            raise RequestError(f"{self.name} orders items, and its scores predict nothing by themselves. Use score().")
        scores = self.score(pairs)
        return torch.sigmoid(scores) if link == "sigmoid" else scores

    def requests_of(self, users: Tensor) -> Requests:
        """What is known of the users with indices ``users`` (B,) after all events it was fitted on."""
        liked = self.dataset.positives().events
        return make_requests(
            liked,
            rows=users,
            stops=liked.offsets[users + 1],
            history=self.history,
            user_features=self.dataset.user_features,
        )

    def score_events(self, part: Dataset) -> Tensor:
        """Raw scores (M,) of the part's own events, each from what was known before it."""
        positions, stops = own_events(part)
        rows, items = part.events.rows()[positions], part.events.items[positions].long()
        return self._score(part, rows, stops, items, None if part.context is None else part.context.take(positions))

    def _score(self, dataset: Dataset, rows: Tensor, stops: Tensor, items: Tensor, context: Features | None) -> Tensor:
        """Raw scores (P,) of ``items`` (P,) for ``rows`` (P,), whose history ends at ``stops`` (P,) of the liked events."""
        liked, scores = dataset.positives().events, []
        for block in blocks(len(rows), 65_536):
            requests = make_requests(
                liked,
                rows=rows[block],
                stops=stops[block],
                history=self.history,
                user_features=dataset.user_features,
                context=None if context is None else context.take(block),
            )
            scores.append(pair_scores(self.network, requests, items[block, None])[:, 0])
        return torch.cat(scores) if scores else torch.zeros(0)


class _Undrawn(TorchFunctionMode):
    """Leaves memory as it is where random numbers would be drawn into it."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = {} if kwargs is None else kwargs
        if getattr(func, "__name__", "") in ("normal_", "uniform_", "kaiming_uniform_"):  # a tensor's, or of nn.init
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def undrawn(settings: ModelSettings, catalogue: Catalogue) -> nn.Module:
    """The network of ``settings``, but for its random numbers: all else that it consists of is there.

    Memory that nothing was written to is none, and a million vectors are drawn in half a second.
    """
    with _Undrawn():
        return settings.build(catalogue)


def history_width(settings: ModelSettings) -> int:
    """How many events of history a model wants in its requests."""
    declared: Any = getattr(settings, "history", None)
    return declared if isinstance(declared, int) else 0


@torch.inference_mode()
def pair_scores(network: nn.Module, requests: Requests, items: Tensor) -> Tensor:
    """Raw scores (B, C) of items (B, C), by a ranker or a retriever's dot product."""
    network.eval()
    if isinstance(network, Ranker):
        return network.score(requests, Candidates(items, torch.zeros(items.shape)))
    if isinstance(network, Retriever):
        return dot_scores(network, requests, items)
    raise RequestError(f"{type(network).__name__} ranks whole catalogues and has no score for single pairs.")


@torch.inference_mode()
def dot_scores(network: Retriever, requests: Requests, items: Tensor) -> Tensor:
    """A retriever's scores (B, C) of items (B, C)."""
    return torch.einsum("bd,bcd->bc", network.embed_requests(requests), network.embed_items(items))


@torch.inference_mode()
def item_vectors(network: nn.Module, num_items: int, *, block: int = 65_536) -> Tensor:
    """The vectors (I, D) of items 1 … ``num_items``."""
    if not isinstance(network, Retriever):
        raise RequestError(f"{type(network).__name__} has no item vectors; only a retriever has.")
    network.eval()
    parts = [network.embed_items(items + 1) for items in blocks(num_items, block)]
    return torch.cat(parts)


def _extent(lengths: Tensor) -> str:
    return blake2b(lengths.numpy().tobytes(), digest_size=16).hexdigest()
