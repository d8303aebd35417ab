"""The page's routes with just enough of a service around them to look with: events in memory, a real recommender."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shortlist.contracts import Candidates
from shortlist.errors import ShortlistError
from shortlist.recommender import Recommender
from shortlist.service.looking import looking_routes

OPEN = ("/page/", "/health/")  # without a token


@dataclass
class SmallService:
    """What the page talks to. With a ``token`` all but the page itself needs it; ``depth`` retrieved items are told, None: k."""

    recommender: Recommender
    token: str | None = None
    depth: int | None = None
    index: int = 1
    delay_s: float = 0.0
    is_full: bool = False  # no event can be stored, nor read
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def recent(self, user_id: Any) -> list[dict[str, Any]]:
        return self.events.get(str(user_id), [])

    def app(self) -> Starlette:
        routes = [
            Route("/recommend", self.recommend, methods=["POST"]),
            Route("/events", self.store, methods=["POST"]),
            Route("/health/ready", self.ready),
            *looking_routes(self, recent=self.recent),
        ]
        app = Starlette(routes=routes, exception_handlers={HTTPException: _told, ShortlistError: _told})

        async def guarded(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["path"] != "/" and not scope["path"].startswith(OPEN):
                sent = dict(scope["headers"]).get(b"authorization", b"").decode()
                if self.token is not None and sent != f"Bearer {self.token}":
                    answer = JSONResponse({"error": "This needs a token: Authorization: Bearer TOKEN."}, 401)
                    return await answer(scope, receive, send)
            return await app(scope, receive, send)

        return guarded  # type: ignore[return-value]

    def _about(self) -> dict[str, Any]:
        return {"versions": {"model": "ab12cd34", "index": f"ab12cd34.{self.index}"}, "ages_s": self.recommender.ages()}

    async def ready(self, request: Request) -> Response:
        model = " → ".join(model.name for model in reversed(self.recommender.funnel.models))
        return JSONResponse(
            {"status": "ready", "model": model, "items": self.recommender.dataset.num_items} | self._about()
        )

    async def store(self, request: Request) -> Response:
        if self.is_full:
            return JSONResponse({"error": "The disk is full."}, 507)
        schema = self.recommender.dataset.schema
        for event in (await request.json())["events"]:
            stored = {schema.item_column: event["item_id"]}
            if schema.timestamp is not None:
                stored[schema.timestamp] = event.get("timestamp", int(time.time()))
            self.events.setdefault(str(event["user_id"]), []).append(stored)
        return JSONResponse({"stored": 1, "duplicates": 0})

    async def recommend(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self._answer, await request.json()))

    def _answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        time.sleep(self.delay_s)
        schema, user = self.recommender.dataset.schema, asked.get("user_id")
        events = [*self.recent(user), *({schema.item_column: each["item_id"]} for each in asked.get("events", []))]
        names = ("k", "where", "diversity", "exclude_seen")
        (found,) = self.recommender.answers(
            [user], events=events or None, **{name: asked[name] for name in names if name in asked}
        )
        stages = found.stages
        return (
            {
                "user_id": user,
                "items": self._items(stages.ranked, asked["k"]),
                "retrieved": self._items(stages.retrieved, asked["k"] if self.depth is None else self.depth),
                "stages_ms": {name: 1000 * seconds for name, seconds in stages.seconds.items()},
                "source": found.sources[0],
                "unknown_items": list(found.query.unknown_items),
            }
            | ({"degraded": ["recent events"]} if self.is_full else {})
            | self._about()
        )

    def _items(self, found: Candidates, most: int) -> list[dict[str, Any]]:
        valid = found.valid[0]
        ids = self.recommender.dataset.encoders.items.decode(found.items[0][valid].numpy()).tolist()[:most]
        scores, titles = found.scores[0][valid].tolist(), self.recommender.titles(ids)
        return [
            {"item_id": id, "title": title, "score": scores[place], "rank": place + 1}
            for place, (id, title) in enumerate(zip(ids, titles, strict=True))
        ]


def _told(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 400
    return JSONResponse({"error": error.detail if isinstance(error, HTTPException) else str(error)}, status)


@contextmanager
def served(service: SmallService, *, port: int = 0) -> Iterator[str]:
    """The address of a server that answers with ``service`` while the block runs."""
    with listening_to(service.app(), port=port) as url:
        yield url


@contextmanager
def listening_to(app: Any, *, port: int = 0) -> Iterator[str]:
    """The address of a server that answers with ``app`` while the block runs."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="auto"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()
