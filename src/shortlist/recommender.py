"""Ids in, ranked ids out: encodes what is asked, lets the funnel answer, decodes."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import polars as pl

from shortlist.accelerating import accelerated
from shortlist.answers import Answer, answer_frame, items_frame, served_from
from shortlist.asking import Ask, encode_asks
from shortlist.bundle import Bundle, write_bundle
from shortlist.data.attributes import ItemColumns
from shortlist.data.dataset import Dataset
from shortlist.data.grow import as_grown
from shortlist.diversity import Selection
from shortlist.errors import RequestError, ShortlistWarning
from shortlist.explaining import Explanation, explanation
from shortlist.funnel import Funnel
from shortlist.growth import learn_places
from shortlist.index import AnyIndex
from shortlist.model import Model
from shortlist.query import Query, encode_query, encode_selection, item_index
from shortlist.refreshing import refreshed
from shortlist.similar import Similar
from shortlist.storing import Made, funnel_from_bundle, funnel_to_bundle
from shortlist.vocabulary import Id


class Recommender:
    """A trained funnel with the histories it serves from.

    ``model`` retrieves, or a list of models does, joined by their ranks; ``ranker`` re-orders the best ``candidates``.
    ``diversity`` and ``caps`` are what :meth:`recommend` does where it is not told otherwise. ``history`` is the data set
    whose events are the stored histories: by default what the ranker, or else the first retriever, was fitted on.
    ``held_out`` is a part kept from all training, saved along so that the recommender can be evaluated where it goes.
    """

    def __init__(
        self,
        model: Model | Sequence[Model],
        *,
        index: AnyIndex | Literal["auto"] = "auto",
        ranker: Model | None = None,
        candidates: int = 200,
        diversity: float = 0.0,
        caps: Mapping[str, int] | None = None,
        history: Dataset | None = None,
        held_out: Dataset | None = None,
    ) -> None:
        funnel = Funnel.of(model, index=index, ranker=ranker, candidates=candidates)
        dataset = history if history is not None else (ranker or funnel.retriever).dataset
        columns = ItemColumns(dataset)
        selection = encode_selection(diversity, caps or {}, columns.values)
        self._set(replace(funnel, selection=selection), dataset, held_out, Made(time.time(), time.time()), columns)

    def _set(
        self, funnel: Funnel, history: Dataset, held_out: Dataset | None, made: Made, columns: ItemColumns
    ) -> None:
        for model in funnel.models:
            _check_same_ids(model, history)
        self.funnel, self.dataset, self.held_out, self.made = funnel, history, held_out, made
        self._columns = columns
        self._similar = Similar(funnel)

    def recommend(
        self,
        users: Sequence[Id] | None = None,
        *,
        events: Any = None,
        k: int = 10,
        items: Sequence[Id] | None = None,
        exclude: Sequence[Id] | None = None,
        where: str | None = None,
        exclude_seen: bool = True,
        context: Any = None,
        candidates: int | None = None,
        diversity: float | None = None,
        caps: Mapping[str, int] | None = None,
    ) -> pl.DataFrame:
        """The best ``k`` items of each request: a frame with user_id, item_id, score, rank (from 1) and source.

        ``users`` are ids; ``events`` (a frame, file or list of mappings) extend the stored history of their user, and
        without a user column they are one anonymous session. ``items`` is the list allowed, ``exclude`` the list denied,
        ``where`` a condition in SQL over the columns of the items table (``"category = 'tea' and price < 20"``), and with
        ``exclude_seen`` what the user has met is denied too: all before the cut, so that ``k`` items come while ``k`` are
        eligible. ``source`` is "model" (a known user), "session" (events alone), "features" or "popularity" (nothing is
        known). Ids that no vocabulary has are left out with a warning that counts them.

        ``candidates`` is how many are found and re-ranked. ``diversity`` (0 to 1) weighs against items that are like those above them, and then ``score`` is what
        :func:`~shortlist.diversity.select` says. ``caps={"category": 2}`` lets at most two items of one value into the
        answer, which is shorter where the candidates have no others. Both choose among the candidates, in the end.
        None, of each of these, is the recommender's own default.
        """
        answers = list(
            self.answers(
                users,
                events=events,
                k=k,
                items=items,
                exclude=exclude,
                where=where,
                exclude_seen=exclude_seen,
                context=context,
                candidates=candidates,
                diversity=diversity,
                caps=caps,
            )
        )
        unknown = list(dict.fromkeys(item for answer in answers for item in answer.query.unknown_items))
        if unknown:
            shown = ", ".join(map(repr, unknown[:5])) + (", …" if len(unknown) > 5 else "")
            message = f"{len(unknown)} item ids are not in the catalogue and were left out: {shown}"
            warnings.warn(message, ShortlistWarning, stacklevel=2)
        frames = [answer_frame(answer, self.dataset.encoders) for answer in answers]
        return pl.concat(frames, how="vertical_relaxed") if frames else answer_frame(None, self.dataset.encoders)

    def answers(
        self,
        users: Sequence[Id | None] | None = None,
        *,
        events: Any = None,
        k: int = 10,
        items: Sequence[Id] | None = None,
        exclude: Sequence[Id] | None = None,
        where: str | None = None,
        exclude_seen: bool = True,
        context: Any = None,
        candidates: int | None = None,
        diversity: float | None = None,
        caps: Mapping[str, int] | None = None,
        block: int = 1024,
    ) -> Iterator[Answer]:
        """What :meth:`recommend` decodes: encoded answers with every stage, a block of requests at a time.

        None among ``users`` is an anonymous request.
        """
        if k < 1:
            raise RequestError(f"k is {k}. It is a whole number from 1.")
        if users is None and events is None:
            raise RequestError("Nothing to recommend for: give users, events, or both.")
        if isinstance(users, str | bytes):
            raise RequestError(f"users takes a list of ids; found the text {users!r}. Put it in a list.")
        for query in encode_query(
            self.dataset,
            users=users,
            events=events,
            items=items,
            exclude=exclude,
            allowed=None if where is None else self._columns.allowed(where),
            exclude_seen=exclude_seen,
            context=context,
            history=self.funnel.history,
            block=block,
        ):
            yield self._answer(query, k, selection=self._selection(diversity, caps), candidates=candidates)

    def answer_asks(self, asks: Sequence[Ask], *, k: int) -> tuple[Answer, tuple[tuple[Id, ...], ...]]:
        """The ``k`` best of each of ``asks`` as one batch, and of each the ids that are not known: what a service answers with."""
        query, unknown = encode_asks(self.dataset, asks, history=self.funnel.history)
        return self._answer(query, k), unknown

    def _answer(
        self, query: Query, k: int, *, selection: Selection | None = None, candidates: int | None = None
    ) -> Answer:
        stages = self.funnel.shortlist(
            query.requests, k=k, filter=query.filter, selection=selection, candidates=candidates
        )
        return Answer(query, stages, served_from(query.requests, stages.served, self.dataset))

    def _selection(self, diversity: float | None, caps: Mapping[str, int] | None) -> Selection:
        """The last step of a call: the default's parts where the call has none."""
        default = self.funnel.selection
        wanted = default.diversity if diversity is None else diversity
        if caps is None:
            return replace(default, diversity=wanted)
        return encode_selection(wanted, caps, self._columns.values)

    def explain(self, user: Id | None, item: Id, *, events: Any = None, context: Any = None) -> pl.DataFrame:
        """What each event of a user's history adds to the score of ``item``: item_id, title and contribution, best first.

        By the ranker, or where it does not read the history by the first retriever that does, without the evidence of the
        others; see :func:`~shortlist.explaining.explanation`. ``events`` and ``context`` are as in :meth:`recommend`;
        None as the user is an anonymous session.
        """
        found = self.explanation(user, item, events=events, context=context)
        frame = items_frame(found.contributions, self.dataset.encoders)
        return frame.select(
            "item_id",
            pl.Series("title", self.titles(frame["item_id"].to_list()), dtype=pl.String),
            contribution="score",
        )

    def explanation(self, user: Id | None, item: Id, *, events: Any = None, context: Any = None) -> Explanation:
        """What :meth:`explain` decodes, with the name of the model whose score it is."""
        index = item_index(self.dataset, item)
        return explanation(self.dataset, self.funnel.models, index, user=user, events=events, context=context)

    def similar_items(self, item: Id, *, k: int = 10) -> pl.DataFrame:
        """The ``k`` items nearest to ``item``, see :class:`~shortlist.similar.Similar`: item_id and score."""
        found = self._similar(item_index(self.dataset, item), k)
        return items_frame(found, self.dataset.encoders)

    def score(self, pairs: Any) -> pl.DataFrame:
        """The pairs (a frame with user and item ids) with a ``score``: the ranker's, or without one the retriever's."""
        frame = pairs if isinstance(pairs, pl.DataFrame) else pl.DataFrame(pairs)
        part = replace(self.funnel.scorer, dataset=self.dataset)
        return frame.with_columns(score=pl.Series(part.score(frame).numpy()))

    def titles(self, items: Sequence[Id]) -> list[str | None]:
        """The titles of items, None where there is none."""
        titles = self.dataset.encoders.titles
        indices = self.dataset.encoders.items.encode(list(items)).tolist()
        return [titles[index - 1] if titles is not None and index else None for index in indices]

    def known_users(self) -> list[Id]:
        """The ids of all users who have stored events."""
        rows = (self.dataset.events.lengths > 0).nonzero().squeeze(1)
        return list(self.dataset.encoders.users.decode(rows.numpy()).tolist())

    def with_data(self, *, history: Dataset, held_out: Dataset | None = None) -> Recommender:
        """The same with other stored histories, and with a part to be evaluated on."""
        return self._of(self.funnel, history, held_out, self.made, ItemColumns(history))

    def accelerated(self) -> Recommender:
        """The same with networks in ONNX Runtime where they can be, see :func:`~shortlist.accelerating.accelerated`."""
        return self._of(accelerated(self.funnel), self.dataset, self.held_out, self.made, self._columns)

    def refresh(self, items: Any = None, *, remove: Sequence[Id] = (), format: str | None = None) -> Recommender:
        """A recommender that also knows the new and changed ``items`` (a table with the columns it had), without training.

        New ones are embedded by their features (see :class:`~shortlist.placing.Directions` for models that know items by ids
        alone), and the indexes get what changed. The items in ``remove`` are answered no more, until a table names them
        again. This one stays as it is and can go on serving; both share the memory of what did not change. Ids to remove that
        are not known are a :class:`RequestError`.
        """
        if items is None and not remove:
            raise RequestError("There is nothing to refresh: give a table of items, ids to remove, or both.")
        known = self.funnel, self.dataset, self._columns
        funnel, dataset, columns = refreshed(*known, items=items, remove=remove, format=format)
        held_out = None if self.held_out is None else as_grown(self.held_out, dataset)
        fresh = self._of(funnel, dataset, held_out, replace(self.made, indexed=time.time()), columns)
        fresh._newest = self._newest  # of the same events
        return fresh

    def warm_up(self) -> None:
        """Compute ahead what else the first :meth:`refresh` waits for: where the features of new items lead."""
        for model in self.funnel.models:
            learn_places(model)

    def save(self, path: str | Path) -> None:
        """Write the folder ``path``; :func:`shortlist.load` reads it, and answers bit for bit the same."""
        write_bundle(path, funnel_to_bundle(self.funnel, self.dataset, self.held_out, self.made))

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> Recommender:
        """The recommender that :meth:`save` wrote."""
        columns = ItemColumns(bundle.dataset)
        funnel, made = funnel_from_bundle(bundle, columns.values)
        return cls._of(funnel, bundle.dataset, bundle.held_out, made, columns)

    def ages(self) -> dict[str, float | None]:
        """Seconds since the model was trained, since the index was last refreshed, and since the newest stored event.

        None where that is not known: of bundles of an older format, and of events without times. What lies ahead, by a clock
        that goes wrong, is 0 seconds old.
        """
        now, moments = time.time(), {"model": self.made.trained, "index": self.made.indexed, "events": self._newest}
        return {name: None if moment is None else max(0.0, now - moment) for name, moment in moments.items()}

    @cached_property
    def _newest(self) -> float | None:
        times = self.dataset.events.times
        return float(times.max()) if times is not None and len(times) else None

    @classmethod
    def _of(
        cls, funnel: Funnel, history: Dataset, held_out: Dataset | None, made: Made, columns: ItemColumns
    ) -> Recommender:
        recommender = cls.__new__(cls)
        recommender._set(funnel, history, held_out, made, columns)
        return recommender


def _check_same_ids(part: Model, dataset: Dataset) -> None:
    for kind, mine, theirs in (
        ("users", part.dataset.encoders.users, dataset.encoders.users),
        ("items", part.dataset.encoders.items, dataset.encoders.items),
    ):
        if mine is not theirs and mine != theirs:
            raise RequestError(
                f"{part.name} knows other {kind} ({len(mine)}) than the histories do ({len(theirs)}). Fit all parts of a "
                "recommender on parts of one data set."
            )
