"""Messages of clients to what a recommender is asked, and its answers to messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from shortlist.answers import Answer
from shortlist.asking import Ask
from shortlist.schema import Schema
from shortlist.service.generation import Generation
from shortlist.service.messages import RankedItem, RankRequest, RecommendRequest, RecommendResponse
from shortlist.service.recent import RecentEvents
from shortlist.vocabulary import Id

Now = Callable[[], int]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for recommendations. ``may_know`` says whether the caller may learn who is known."""

    message: RecommendRequest
    may_know: bool

    @property
    def is_plain(self) -> bool:
        """Whether it can be answered together with others: nothing in it takes long."""
        message = self.message
        is_listed = message.items is not None or message.where is not None
        is_varied = message.diversity is not None or message.caps is not None
        return not (is_listed or is_varied or message.candidates is not None)

    @property
    def kind(self) -> object:
        """Plain requests of one kind are answered as one batch."""
        return self.message.k, bool(self.message.context)


@dataclass(frozen=True, slots=True)
class Answering:
    """Answers requests with a generation, from the newest events of their users."""

    recent: RecentEvents
    now: Now

    def together(self, generation: Generation, asked: Sequence[Asked]) -> tuple[list[RecommendResponse], Answer]:
        """The answers to plain requests of one kind, and the whole batch's."""
        asks, degraded = zip(*(self._ask(generation, each.message) for each in asked), strict=True)
        answer, unknown = generation.recommender.answer_asks(asks, k=asked[0].message.k)
        ages = generation.recommender.ages()
        responses = []
        for row, each in enumerate(asked):
            response = _response(generation, answer, row, each, ages)
            response.unknown_items, response.degraded = list(unknown[row]), degraded[row]
            responses.append(response)
        return responses, answer

    def alone(self, generation: Generation, asked: Asked) -> tuple[RecommendResponse, Answer]:
        """The answer to any request, by :meth:`~shortlist.Recommender.answers`."""
        message = asked.message
        ask, degraded = self._ask(generation, message)
        recommender = generation.recommender
        (answer,) = recommender.answers(
            [ask.user],
            events=as_rows(recommender.dataset.schema, ask.events) or None,
            k=message.k,
            items=message.items,
            exclude=message.exclude,
            where=message.where,
            exclude_seen=message.exclude_seen,
            context=ask.context,
            candidates=message.candidates,
            diversity=message.diversity,
            caps=message.caps,
        )
        response = _response(generation, answer, 0, asked, recommender.ages())
        response.unknown_items, response.degraded = list(answer.query.unknown_items), degraded
        return response, answer

    def rank(self, generation: Generation, message: RankRequest, *, may_know: bool) -> tuple[RecommendResponse, Answer]:
        """All of the given items that are known, in the order of the served funnel."""
        asked = RecommendRequest(
            user_id=message.user_id,
            events=message.events,
            k=len(message.items),
            items=message.items,
            exclude_seen=False,
            context=message.context,
            candidates=len(message.items),
        )
        return self.alone(generation, Asked(asked, may_know))

    def _ask(self, generation: Generation, message: RecommendRequest) -> tuple[Ask, list[str]]:
        recent, is_there = self.recent.of(generation, message.user_id)
        now = 0
        if any(event.timestamp is None for event in message.events):  # they have just been, after all that is stored
            now = max(self.now(), max((moment for _, moment in recent), default=0))
        stated = [(event.item_id, now if event.timestamp is None else event.timestamp) for event in message.events]
        ask = Ask(
            user=message.user_id,
            events=[*recent, *stated] if recent else stated,
            exclude=message.exclude or (),
            exclude_seen=message.exclude_seen,
            context=message.context or None,
        )
        return ask, [] if is_there else ["recent events"]


def as_rows(schema: Schema, events: Sequence[tuple[Id, int]]) -> list[dict[str, Any]]:
    """Events as :meth:`~shortlist.Recommender.recommend` takes them."""
    item, time = schema.item_column, schema.timestamp
    return [{item: each} if time is None else {item: each, time: moment} for each, moment in events]


def _response(
    generation: Generation, answer: Answer, row: int, asked: Asked, ages: dict[str, float | None]
) -> RecommendResponse:
    message, stages = asked.message, answer.stages
    response = RecommendResponse(
        message.user_id,
        _items(generation, stages.ranked.items[row].tolist(), stages.ranked.scores[row].tolist()),
        answer.sources[row] if asked.may_know or message.user_id is None else None,
        [],
        generation.versions,
        ages,
    )
    if message.detail:
        response.stages_ms = {name: round(1e3 * seconds, 3) for name, seconds in stages.seconds.items()}
        found = stages.retrieved
        response.retrieved = _items(generation, found.items[row].tolist(), found.scores[row].tolist())
    return response


def _items(generation: Generation, indices: list[int], scores: list[float]) -> list[RankedItem]:
    count = indices.index(0) if 0 in indices else len(indices)  # empty slots come last
    encoders = generation.recommender.dataset.encoders
    ids, titles = encoders.items.decode(indices[:count]).tolist(), encoders.titles
    return [
        RankedItem(item, scores[place], place + 1, None if titles is None else titles[indices[place] - 1])
        for place, item in enumerate(ids)
    ]
