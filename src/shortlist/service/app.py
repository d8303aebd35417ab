"""HTTP requests to the recommender's answers and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shortlist.errors import ShortlistError
from shortlist.service.messages import ErrorResponse, RankedItem, RecommendRequest, RecommendResponse

if TYPE_CHECKING:
    from shortlist.recommender import Recommender

MOST_ITEMS = 500  # k
MOST_EVENTS = 1_000
MOST_BYTES = 64 * 1024

_decoder = msgspec.json.Decoder(RecommendRequest)
_encoder = msgspec.json.Encoder()


def create_app(recommender: Recommender) -> Starlette:
    """The web application that answers with ``recommender``."""

    async def recommend(request: Request) -> Response:
        body = await request.body()
        if len(body) > MOST_BYTES:
            return _error(413, f"The body has {len(body)} bytes; at most {MOST_BYTES} are read.")
        try:
            asked = _decoder.decode(body)
        except msgspec.DecodeError as error:
            return _error(400, f"{error}.")
        if not 1 <= asked.k <= MOST_ITEMS:
            return _error(400, f"k is {asked.k}. It is a whole number from 1 to {MOST_ITEMS}.")
        if len(asked.events) > MOST_EVENTS:
            return _error(
                400, f"There are {len(asked.events)} events; at most {MOST_EVENTS} are read. Send the latest."
            )
        try:
            return _json(200, await run_in_threadpool(answer, recommender, asked))
        except ShortlistError as error:
            return _error(400, str(error))

    async def live(_: Request) -> Response:
        return _json(200, {"status": "live"})

    async def ready(_: Request) -> Response:
        return _json(
            200, {"status": "ready", "model": recommender.funnel.retriever.name, "items": recommender.dataset.num_items}
        )

    routes = [
        Route("/recommend", recommend, methods=["POST"]),
        Route("/health/live", live),
        Route("/health/ready", ready),
    ]
    return Starlette(routes=routes)


def answer(recommender: Recommender, asked: RecommendRequest) -> RecommendResponse:
    """The same as :meth:`Recommender.recommend` for one request."""
    schema = recommender.dataset.schema
    events = [
        {schema.item_column: event.item_id}
        | ({} if schema.sequence_id is None else {schema.sequence_id: asked.user_id})
        | ({} if schema.timestamp is None or event.timestamp is None else {schema.timestamp: event.timestamp})
        for event in asked.events
    ]
    (found,) = recommender.answers(
        [asked.user_id],
        events=events or None,
        k=asked.k,
        items=asked.items,
        exclude=asked.exclude,
        where=asked.where,
        exclude_seen=asked.exclude_seen,
        context=asked.context,
        diversity=asked.diversity,
        caps=asked.caps,
    )
    ranked = found.stages.ranked
    valid = ranked.valid[0]
    ids = recommender.dataset.encoders.items.decode(ranked.items[0][valid].numpy()).tolist()
    scores = ranked.scores[0][valid].tolist()
    titles = recommender.titles(ids)
    items = [RankedItem(*row) for row in zip(ids, scores, range(1, len(ids) + 1), titles, strict=True)]
    unknown = list(found.query.unknown_items)
    return RecommendResponse(asked.user_id, items, found.sources[0], unknown, recommender.ages())


def _json(status: int, values: object) -> Response:
    return Response(_encoder.encode(values), status, media_type="application/json")


def _error(status: int, message: str) -> Response:
    return _json(status, ErrorResponse(message))
