"""What each route does: from a request's message to its answer, by the parts of the service."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from shortlist.service.access import Tokens
from shortlist.service.answering import Answering, Asked, as_rows
from shortlist.service.generation import Generation
from shortlist.service.items import rows_of
from shortlist.service.lanes import FastLane, SlowLane
from shortlist.service.messages import (
    MOST_ITEMS,
    EventsRequest,
    EventsResponse,
    ItemsRequest,
    ItemsResponse,
    RankedItem,
    RankRequest,
    ReadyResponse,
    RecommendRequest,
    RecommendResponse,
    ReloadRequest,
    SimilarResponse,
    SwapResponse,
)
from shortlist.service.metrics import Metrics
from shortlist.service.recent import Clock, RecentEvents
from shortlist.service.requests import Wanted, count, read, respond
from shortlist.service.serving import Serving
from shortlist.service.settings import MOST_BYTES, ServiceSettings
from shortlist.service.state import StoredEvent, open_state
from shortlist.vocabulary import Id

_WRITERS = 16  # calls that write at a time: their events are joined into one transaction


class Desk:
    """One worker's parts: what serves, the store, the lanes, the figures."""

    def __init__(self, settings: ServiceSettings) -> None:
        """Open the store and load the bundle."""
        settings.own_folder.mkdir(parents=True, exist_ok=True)
        self.settings = settings
        self.tokens, self.metrics, self.clock = Tokens.read(settings.tokens), Metrics(), Clock()
        self.state = open_state(settings.state_url)
        self.serving = Serving(settings, self.state)
        self.answering = Answering(RecentEvents(self.state), self.clock)
        self.fast: FastLane[Asked, RecommendResponse] = FastLane(
            self._together,
            kind=lambda asked: asked.kind,
            most_waiting=settings.most_waiting,
            most_together=settings.most_together,
        )
        self.slow = SlowLane(1, most_waiting=settings.most_waiting // 4 + 1, timeout_s=settings.slow_timeout_s)
        self.writing = SlowLane(_WRITERS, most_waiting=settings.most_waiting, timeout_s=settings.slow_timeout_s)
        self.swapping = SlowLane(1, most_waiting=1, timeout_s=600)

    def open(self) -> None:
        """Begin to follow changes made elsewhere."""
        self.serving.start()

    def close(self) -> None:
        """Let go of everything."""
        self.serving.stop()
        for lane in (self.slow, self.writing, self.swapping):
            lane.close()
        self.state.close()

    def recent_rows(self, user: Id) -> list[dict[str, Any]]:
        """The events of a user that the bundle does not know, as :meth:`~shortlist.Recommender.recommend` takes them."""
        generation = self.serving.current
        events, _ = self.answering.recent.of(generation, user)
        return as_rows(generation.recommender.dataset.schema, events)

    async def ready(self, _: Request) -> Response:
        """GET /health/ready."""
        generation = self.serving.current
        recommender = generation.recommender
        funnel, items = recommender.funnel, recommender.dataset.num_items
        name = " + ".join(source.model.name for source in funnel.sources)
        name += "" if funnel.ranker is None else f" → {funnel.ranker.name}"
        return respond(ReadyResponse("ready", name, items, generation.versions, recommender.ages()))

    async def recommend(self, request: Request) -> Response:
        """POST /recommend."""
        asked = Asked(await self._read(request, _RECOMMEND), "admin" in request.state.rights)
        if asked.is_plain:
            return respond(await self.fast.ask(asked))
        generation = self.serving.current
        return respond(await self.slow.do(partial(self._alone, generation, asked)))

    async def rank(self, request: Request) -> Response:
        """POST /rank."""
        message = await self._read(request, _RANK)
        may_know = "admin" in request.state.rights
        work = partial(self.answering.rank, self.serving.current, message, may_know=may_know)
        response, _ = await self.slow.do(work)
        return respond(response)

    async def similar(self, request: Request) -> Response:
        """GET /items/{item_id}/similar."""
        k = count(request, "k", default=10, most=MOST_ITEMS)
        item, generation = request.path_params["item_id"], self.serving.current
        recommender = generation.recommender
        if item not in recommender.dataset.encoders.items:
            raise HTTPException(404, f"The catalogue has no item {item[:100]!r}.")
        frame = await self.slow.do(partial(recommender.similar_items, item, k=k))
        ids, scores = frame["item_id"].to_list(), frame["score"].to_list()
        rows = zip(ids, scores, range(1, len(ids) + 1), recommender.titles(ids), strict=True)
        return respond(SimilarResponse(item, [RankedItem(*row) for row in rows], generation.versions))

    async def events(self, request: Request) -> Response:
        """POST /events: they are on disk when it answers."""
        message = await self._read(request, _EVENTS)
        received = float(self.clock())
        stored = [
            StoredEvent(
                each.event_id or uuid.uuid4().hex,
                str(each.user_id),
                str(each.item_id),
                int(received) if each.timestamp is None else each.timestamp,
                received,
            )
            for each in message.events
        ]
        done = await self.writing.do(partial(self.state.append_events, stored))
        self.metrics.events.labels("stored").inc(done.stored)
        self.metrics.events.labels("duplicate").inc(done.duplicates)
        return respond(EventsResponse(done.stored, done.duplicates, [each.event_id for each in stored]))

    async def put_items(self, request: Request) -> Response:
        """PUT /items: new and changed rows of the table of items."""
        message = await self._read(request, _ITEMS)
        recommender, received = self.serving.recommender, float(self.clock())

        def work() -> int:
            return self.state.change_items(rows_of(recommender, message.items), received=received)

        return self._changed(await self.writing.do(work))

    async def delete_item(self, request: Request) -> Response:
        """DELETE /items/{item_id}."""
        item, received = request.path_params["item_id"], float(self.clock())
        if item not in self.serving.recommender.dataset.encoders.items:
            raise HTTPException(404, f"The catalogue has no item {item[:100]!r}.")
        work = partial(self.state.change_items, [(item, None)], received=received)
        return self._changed(await self.writing.do(work))

    async def figures(self, _: Request) -> Response:
        """GET /metrics."""
        generation, metrics = self.serving.current, self.metrics
        for what, age in generation.recommender.ages().items():
            if age is not None:
                metrics.ages.labels(what).set(age)
        metrics.items.set(generation.recommender.dataset.num_items)
        metrics.revision.set(generation.revision)
        metrics.swaps.set(self.serving.swaps)
        metrics.refusals.set(self.serving.refusals)
        metrics.waiting.set(len(self.fast) + len(self.slow))
        return Response(metrics.text(), media_type=metrics.content_type)

    async def reload(self, request: Request) -> Response:
        """POST /admin/reload."""
        message = await self._read(request, _RELOAD, empty=b"{}")
        now, before = await self.swapping.do(partial(self.serving.reload, message.bundle))
        return respond(SwapResponse(now.versions, before.versions))

    async def rollback(self, _: Request) -> Response:
        """POST /admin/rollback."""
        now, before = await self.swapping.do(self.serving.rollback)
        return respond(SwapResponse(now.versions, before.versions))

    async def _read(self, request: Request, decoder: msgspec.json.Decoder[Wanted], *, empty: bytes = b"") -> Wanted:
        timeout_s = self.settings.body_timeout_s
        return await read(request, decoder, most_bytes=MOST_BYTES, timeout_s=timeout_s, empty=empty)

    def _together(self, asked: Sequence[Asked]) -> list[RecommendResponse]:
        responses, answer = self.answering.together(self.serving.current, asked)
        self.metrics.batch(answer.stages.seconds, len(asked))
        self._count(answer.sources, responses)
        return responses

    def _alone(self, generation: Generation, asked: Asked) -> RecommendResponse:
        response, answer = self.answering.alone(generation, asked)
        self.metrics.batch(answer.stages.seconds, 1)
        self._count(answer.sources, [response])
        return response

    def _count(self, sources: Sequence[str], responses: Sequence[RecommendResponse]) -> None:
        for source in sources:
            self.metrics.sources.labels(source).inc()
        self.metrics.degraded.inc(sum(bool(response.degraded) for response in responses))

    def _changed(self, revision: int) -> Response:
        self.serving.look()
        return respond(ItemsResponse(revision))


_RECOMMEND = msgspec.json.Decoder(RecommendRequest)
_RANK = msgspec.json.Decoder(RankRequest)
_EVENTS = msgspec.json.Decoder(EventsRequest)
_ITEMS = msgspec.json.Decoder(ItemsRequest)
_RELOAD = msgspec.json.Decoder(ReloadRequest)
