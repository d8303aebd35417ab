"""The routes that only the page asks: its files, what can be picked, what a user did, pictures, and why an item stands where."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shortlist.errors import RequestError
from shortlist.service.page.answers import Events, explained, known_items, past_events
from shortlist.service.page.files import page_files
from shortlist.service.page.finding import Finder
from shortlist.service.page.messages import ExplainRequest, KnownItem, KnownUser
from shortlist.service.page.pictures import picture
from shortlist.service.requests import count, read, respond
from shortlist.service.settings import MOST_BYTES
from shortlist.vocabulary import Id

if TYPE_CHECKING:
    from shortlist.recommender import Recommender

MOST_FOUND = 100
MOST_NAMED = 500  # items looked up by id at once
MOST_LETTERS = 200  # of a search
BODY_TIMEOUT_S = 5.0

SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
POLICY = "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

Run = Callable[[Callable[[], Any]], Awaitable[Any]]

_decoder = msgspec.json.Decoder(ExplainRequest)


class Serving(Protocol):
    """What answers now. It may be another one at the next request."""

    @property
    def recommender(self) -> Recommender:
        """The recommender in service."""
        ...


def looking_routes(
    serving: Serving,
    *,
    recent: Callable[[Id], Events] | None = None,
    run: Run = run_in_threadpool,
    may_know: Callable[[Request], bool] = lambda _: True,
) -> list[Route]:
    """The page at ``/`` and what it asks beside recommendations. Who may ask is checked outside, and there too a
    :class:`ShortlistError` and a :class:`HTTPException` become answers.

    ``recent`` finds the events of a user that came after the recommender's stored ones, oldest first, as
    :meth:`Recommender.recommend` takes them; None: there are none. ``run`` does what takes time, in a thread.
    ``may_know`` says who may learn from an explanation what a user did.
    """
    known, finder = page_files(), Finder()
    fresh: Callable[[Id], Events] = recent or (lambda _: ())

    async def file(request: Request) -> Response:
        found = known.get(request.path_params.get("file", "index.html"))
        if found is None:
            raise HTTPException(404, "The page has no such file.")
        # Asked for again each time, and answered by 304 while it is the same.
        headers = SAFE | {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache", "ETag": found.etag}
        if found.etag in request.headers.get("if-none-match", ""):
            return Response(None, 304, headers)
        return Response(found.content, 200, headers, found.media_type)

    async def catalogue(request: Request) -> Response:
        return respond(await run(lambda: _found_items(serving.recommender, finder, request)))

    async def users(request: Request) -> Response:
        return respond(await run(lambda: _found_users(serving.recommender, finder, request)))

    async def history(request: Request) -> Response:
        user_id, limit = request.path_params["user_id"], count(request, "limit", default=50, most=MOST_FOUND)
        return respond(await run(lambda: past_events(serving.recommender, user_id, recent=fresh(user_id), limit=limit)))

    async def image(request: Request) -> Response:
        dataset = serving.recommender.dataset
        index = int(dataset.encoders.items.encode([request.path_params["item_id"]])[0])
        found = await run(lambda: picture(dataset, index)) if index else None
        if found is None:
            raise HTTPException(404, "This item has no picture.")
        return Response(found[0], 200, SAFE | {"Cache-Control": "private, max-age=300"}, found[1])

    async def explain(request: Request) -> Response:
        asked = await read(request, _decoder, most_bytes=MOST_BYTES, timeout_s=BODY_TIMEOUT_S)
        if asked.user_id is not None and not may_know(request):
            raise HTTPException(
                403, "This token has no right to admin, and what explains an answer tells what a user did."
            )

        def answer() -> object:
            stored = () if asked.user_id is None else fresh(asked.user_id)
            return explained(serving.recommender, asked, recent=stored)

        return respond(await run(answer))

    return [
        Route("/", file),
        Route("/page/{file}", file),
        Route("/catalogue", catalogue),
        Route("/users", users),
        Route("/users/{user_id:path}/history", history),
        Route("/items/{item_id:path}/image", image),
        Route("/explain", explain, methods=["POST"]),
    ]


def _found_items(recommender: Recommender, finder: Finder, request: Request) -> list[KnownItem]:
    """Those that the request names by id, or else those it looks for."""
    named = request.query_params.getlist("item")
    if len(named) > MOST_NAMED:
        raise RequestError(f"{len(named)} items are named; at most {MOST_NAMED} are looked up at once.")
    if named:
        indices = [index for index in recommender.dataset.encoders.items.encode(named).tolist() if index]
    else:
        indices = finder.items(
            recommender, _search(request), limit=count(request, "limit", default=20, most=MOST_FOUND)
        )
    return known_items(recommender, indices)


def _found_users(recommender: Recommender, finder: Finder, request: Request) -> list[KnownUser]:
    dataset = recommender.dataset
    rows = finder.users(recommender, _search(request), limit=count(request, "limit", default=20, most=MOST_FOUND))
    ids = dataset.encoders.users.decode(rows).tolist()
    return [KnownUser(user, events) for user, events in zip(ids, dataset.events.lengths[rows].tolist(), strict=True)]


def _search(request: Request) -> str:
    text = request.query_params.get("search", "")
    if len(text) > MOST_LETTERS:
        raise RequestError(f"search has {len(text)} letters; at most {MOST_LETTERS} are looked for.")
    return text
