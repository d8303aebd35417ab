"""The web application: which route is whose, who may use it, and what happens between start and stop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shortlist.service.access import Right
from shortlist.service.desk import Desk
from shortlist.service.envelope import Envelope
from shortlist.service.looking import looking_routes
from shortlist.service.openapi import document
from shortlist.service.requests import HANDLED, Endpoint, on_error, respond
from shortlist.service.settings import ServiceSettings
from shortlist.service.stopping import Stopping

# Who may ask what the page asks.
_LOOKING: dict[str, Right | None] = {
    "/": None,
    "/page/{file}": None,
    "/catalogue": "recommend",
    "/items/{item_id:path}/image": "recommend",
    "/explain": "recommend",
    "/users": "admin",
    "/users/{user_id:path}/history": "admin",
}


def create_app(settings: ServiceSettings) -> Starlette:
    """The application that serves ``settings.bundle``; it is loaded here, so that what is wrong with it is said at once."""
    return application(Desk(settings))


def application(desk: Desk) -> Starlette:
    """The application of an open service desk."""

    async def live(_: Request) -> Response:
        return respond({"status": "live"})

    async def specification(_: Request) -> Response:
        return respond(document())

    open_to_all: list[tuple[str, str, Endpoint]] = [
        ("GET", "/health/live", live),
        ("GET", "/health/ready", desk.ready),
        ("GET", "/openapi.json", specification),
    ]
    guarded: list[tuple[str, str, Endpoint, Right]] = [
        ("POST", "/recommend", desk.recommend, "recommend"),
        ("POST", "/rank", desk.rank, "recommend"),
        ("GET", "/items/{item_id:path}/similar", desk.similar, "recommend"),
        ("POST", "/events", desk.events, "write"),
        ("PUT", "/items", desk.put_items, "write"),
        ("DELETE", "/items/{item_id:path}", desk.delete_item, "write"),
        ("GET", "/metrics", desk.figures, "admin"),
        ("POST", "/admin/reload", desk.reload, "admin"),
        ("POST", "/admin/rollback", desk.rollback, "admin"),
    ]
    routes = [_route(desk, method, path, endpoint, right) for method, path, endpoint, right in guarded]
    routes += [_route(desk, method, path, endpoint, None) for method, path, endpoint in open_to_all]

    looking = looking_routes(
        desk.serving,
        recent=desk.recent_rows,
        run=desk.slow.do,
        may_know=lambda request: "admin" in request.state.rights,
    )
    routes += [
        _route(
            desk, "POST" if "POST" in (route.methods or ()) else "GET", route.path, route.endpoint, _LOOKING[route.path]
        )
        for route in looking
    ]

    stopping = Stopping()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        desk.open()
        try:
            with stopping.heeded():
                yield
        finally:
            desk.close()

    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[
            Middleware(
                Envelope,
                metrics=desk.metrics,
                stopping=stopping,
                full={("POST", "/recommend"): desk.fast.turns_away},
            )
        ],
        exception_handlers=dict.fromkeys(HANDLED, on_error),
    )
    app.state.desk = desk
    return app


def _route(desk: Desk, method: str, path: str, endpoint: Endpoint, right: Right | None) -> Route:
    """A route that only those may use who have the right; None: everybody."""

    async def guarded(request: Request) -> Response:
        request.state.route = path
        name, rights = desk.tokens.find(request.headers.get("authorization"))
        request.state.bearer, request.state.rights = name, rights
        if right is not None and right not in rights:
            if name is None:
                raise HTTPException(401, "A token is needed: Authorization: Bearer TOKEN.")
            raise HTTPException(403, f"This token has no right to {right}.")
        return await endpoint(request)

    return Route(path, guarded, methods=[method])
