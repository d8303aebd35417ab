"""Ids in, ranked ids out: encodes what is asked, lets the funnel answer, decodes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import polars as pl
import torch

from shortlist.bundle import Bundle, Part, write_bundle
from shortlist.contracts import Candidates, CandidateSource, Filter, Requests, Retriever, Stages
from shortlist.data.dataset import Dataset
from shortlist.errors import BundleError, RequestError, ShortlistWarning
from shortlist.funnel import Funnel
from shortlist.index import AnyIndex
from shortlist.model import Model
from shortlist.models.popularity import Popularity, PopularityNetwork
from shortlist.query import Query, encode_query
from shortlist.vocabulary import Id

Source = Literal["model", "session", "features", "popularity"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to B requests. ``sources`` says what each was served from."""

    query: Query
    stages: Stages
    sources: tuple[Source, ...]


class Recommender:
    """A trained funnel with the histories it serves from.

    ``model`` retrieves, ``ranker`` re-orders its best ``candidates``. ``history`` is the data set whose events are the
    stored histories: by default what the ranker, or else the retriever, was fitted on. ``held_out`` is a part kept from
    all training, saved along so that the recommender can be evaluated where it goes.
    """

    def __init__(
        self,
        model: Model,
        *,
        index: AnyIndex | Literal["auto"] = "auto",
        ranker: Model | None = None,
        candidates: int = 200,
        history: Dataset | None = None,
        held_out: Dataset | None = None,
    ) -> None:
        funnel = Funnel.of(model, index=index, ranker=ranker, candidates=candidates)
        self._set(funnel, history if history is not None else (ranker or model).dataset, held_out)

    def _set(self, funnel: Funnel, history: Dataset, held_out: Dataset | None) -> None:
        for part in (funnel.retriever, funnel.ranker):
            if part is not None:
                _check_same_ids(part, history)
        self.funnel, self.dataset, self.held_out = funnel, history, held_out

    def recommend(
        self,
        users: Sequence[Id] | None = None,
        *,
        events: Any = None,
        k: int = 10,
        items: Sequence[Id] | None = None,
        exclude: Sequence[Id] | None = None,
        exclude_seen: bool = True,
        context: Any = None,
    ) -> pl.DataFrame:
        """The best ``k`` items of each request: a frame with user_id, item_id, score, rank (from 1) and source.

        ``users`` are ids; ``events`` (a frame, file or list of mappings) extend the stored history of their user, and
        without a user column they are one anonymous session. ``items`` is the list allowed, ``exclude`` the list denied,
        and with ``exclude_seen`` what the user has met is denied too: all before the cut, so that ``k`` items come while
        ``k`` are eligible. ``source`` is "model" (a known user), "session" (events alone), "features" or "popularity"
        (nothing is known). Ids that no vocabulary has are left out with a warning that counts them.
        """
        answers = list(
            self.answers(
                users, events=events, k=k, items=items, exclude=exclude, exclude_seen=exclude_seen, context=context
            )
        )
        unknown = list(dict.fromkeys(item for answer in answers for item in answer.query.unknown_items))
        if unknown:
            shown = ", ".join(map(repr, unknown[:5])) + (", …" if len(unknown) > 5 else "")
            message = f"{len(unknown)} item ids are not in the catalogue and were left out: {shown}"
            warnings.warn(message, ShortlistWarning, stacklevel=2)
        frames = [self._frame(answer) for answer in answers]
        return pl.concat(frames, how="vertical_relaxed") if frames else self._frame(None)

    def answers(
        self,
        users: Sequence[Id | None] | None = None,
        *,
        events: Any = None,
        k: int = 10,
        items: Sequence[Id] | None = None,
        exclude: Sequence[Id] | None = None,
        exclude_seen: bool = True,
        context: Any = None,
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
            exclude_seen=exclude_seen,
            context=context,
            history=self.funnel.history,
            block=block,
        ):
            yield Answer(
                query, self.funnel.shortlist(query.requests, k=k, filter=query.filter), self._sources(query.requests)
            )

    def similar_items(self, item: Id, *, k: int = 10) -> pl.DataFrame:
        """The ``k`` items nearest to ``item``: by the cosine of the retriever's vectors, or by what a session of it gets."""
        index = int(self.dataset.encoders.items.encode([item])[0])
        if index == 0:
            raise RequestError(f"The catalogue has no item {item!r}.")
        itself = Filter(exclude=torch.tensor([[index]]))
        network = self.funnel.retriever.network
        if isinstance(network, Retriever):
            unit = torch.nn.functional.normalize(self.funnel.retriever.vectors(), dim=1)
            found = Candidates.top(torch.cat((torch.zeros(1), unit @ unit[index - 1]))[None], k, itself)
        else:
            assert isinstance(network, CandidateSource)
            session = Requests(
                torch.zeros(1, dtype=torch.int64), torch.tensor([[index]]), torch.ones(1, dtype=torch.int64)
            )
            found = network.search(session, k, filter=itself)
        return self._items_frame(found)

    def score(self, pairs: Any) -> pl.DataFrame:
        """The pairs (a frame with user and item ids) with a ``score``: the ranker's, or without one the retriever's."""
        frame = pairs if isinstance(pairs, pl.DataFrame) else pl.DataFrame(pairs)
        part = replace(self.funnel.ranker or self.funnel.retriever, dataset=self.dataset)
        return frame.with_columns(score=pl.Series(part.score(frame).numpy()))

    def titles(self, items: Sequence[Id]) -> list[str | None]:
        """The titles of items, None where there is none."""
        titles = self.dataset.encoders.titles
        indices = self.dataset.encoders.items.encode(list(items)).tolist()
        return [titles[index - 1] if titles is not None and index else None for index in indices]

    def known_users(self) -> list[Id]:
        """The ids of all users who have stored events."""
        rows = (self.dataset.events.lengths > 0).nonzero().squeeze(1)
        known: list[Id] = self.dataset.encoders.users.decode(rows.numpy()).tolist()
        return known

    def with_data(self, *, history: Dataset, held_out: Dataset | None = None) -> Recommender:
        """The same with other stored histories, and with a part to be evaluated on."""
        return self._of(self.funnel, history, held_out)

    def save(self, path: str | Path) -> None:
        """Write the folder ``path``; :func:`shortlist.load` reads it, and answers bit for bit the same."""
        funnel = self.funnel
        parts = {"model": funnel.retriever.to_part(), "fallback": Part(Popularity(), funnel.fallback.state_dict(), {})}
        if funnel.ranker is not None:
            parts["ranker"] = funnel.ranker.to_part()
        index = None
        if funnel.index is not None and funnel.index_settings is not None:
            index = funnel.index_settings, funnel.index.arrays()
        write_bundle(path, Bundle(parts, self.dataset, self.held_out, index, {"candidates": funnel.candidates}))

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> Recommender:
        """The recommender that :meth:`save` wrote."""
        if "fallback" not in bundle.parts:
            raise BundleError("The folder holds a single model and no recommender. Read it with sl.Model.load(path).")
        parts = {name: Model.from_part(part, bundle.dataset) for name, part in bundle.parts.items()}
        fallback = parts["fallback"].network
        assert isinstance(fallback, PopularityNetwork)
        settings, restored = None, None
        if bundle.index is not None:
            settings = bundle.index[0]
            restored = settings.restore(bundle.index[1])
        funnel = Funnel(parts["model"], restored, settings, parts.get("ranker"), bundle.facts["candidates"], fallback)
        return cls._of(funnel, bundle.dataset, bundle.held_out)

    @classmethod
    def _of(cls, funnel: Funnel, history: Dataset, held_out: Dataset | None) -> Recommender:
        recommender = cls.__new__(cls)
        recommender._set(funnel, history, held_out)
        return recommender

    def _sources(self, requests: Requests) -> tuple[Source, ...]:
        assert requests.user is not None
        served, known = (
            self.funnel.can_serve(requests).tolist(),
            (self.dataset.events.lengths[requests.user] > 0).tolist(),
        )
        past = [False] * len(requests) if requests.length is None else (requests.length > 0).tolist()
        return tuple(
            "popularity" if not ok else "model" if user else "session" if events else "features"
            for ok, user, events in zip(served, known, past, strict=True)
        )

    def _frame(self, answer: Answer | None) -> pl.DataFrame:
        ranked = (
            Candidates(torch.zeros(0, 0, dtype=torch.int64), torch.zeros(0, 0))
            if answer is None
            else answer.stages.ranked
        )
        rows, places = (index.tolist() for index in ranked.valid.nonzero(as_tuple=True))
        asked = () if answer is None else answer.query.user_ids
        sources = () if answer is None else answer.sources
        numbers = self.dataset.encoders.users.is_integer and all(
            user is None or str(user).lstrip("-").isdecimal() for user in asked
        )
        users = [None if user is None else int(user) if numbers else str(user) for user in asked]
        return pl.DataFrame(
            [
                pl.Series("user_id", [users[row] for row in rows], dtype=pl.Int64 if numbers else pl.String),
                *self._items_frame(ranked).get_columns(),
                pl.Series("rank", [place + 1 for place in places], dtype=pl.Int64),
                pl.Series("source", [sources[row] for row in rows], dtype=pl.String),
            ]
        )

    def _items_frame(self, candidates: Candidates) -> pl.DataFrame:
        valid = candidates.valid
        ids = self.dataset.encoders.items.decode(candidates.items[valid].numpy())
        kind = pl.Int64 if self.dataset.encoders.items.is_integer else pl.String
        return pl.DataFrame(
            [pl.Series("item_id", ids.tolist(), dtype=kind), pl.Series("score", candidates.scores[valid].numpy())]
        )


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
