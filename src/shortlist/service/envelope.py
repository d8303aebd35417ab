"""Around every request: an id, a line in the log, its time, and headers; no answer is without them."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shortlist.service.lanes import Busy
from shortlist.service.metrics import Metrics
from shortlist.service.requests import on_error
from shortlist.service.stopping import Stopping

log = logging.getLogger("shortlist.service.requests")

_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")


class Envelope:
    """The application within it finds the id as ``request.state.request_id``, and says who asks as ``state.bearer``."""

    def __init__(
        self, app: ASGIApp, *, metrics: Metrics, stopping: Stopping, full: Mapping[tuple[str, str], Callable[[], bool]]
    ) -> None:
        """``full`` says by method and path whether a request is told to come again before it is even read."""
        self._app, self._metrics, self._stopping, self._full = app, metrics, stopping, full

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status, is_begun = 500, False

        async def send_with_id(message: Message) -> None:
            nonlocal status, is_begun
            if message["type"] == "http.response.start":
                status, is_begun = message["status"], True
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
                if self._stopping.has_begun:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        is_full = self._full.get((scope["method"], scope["path"]))
        try:
            if is_full is not None and is_full():
                state["route"] = scope["path"]
                await on_error(Request(scope), Busy())(scope, receive, send_with_id)
            else:
                await self._app(scope, receive, send_with_id)
        except Exception as error:
            log.exception("an answer failed", extra={"request_id": request_id})
            if is_begun:
                raise
            await on_error(Request(scope), error)(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - started
            route = state.get("route", "none")
            self._metrics.requests.labels(route, status).inc()
            self._metrics.seconds.labels(route).observe(seconds)
            if status == 429:
                self._metrics.shed.inc()
            if status != 429 and log.isEnabledFor(logging.INFO):  # who has too much to do counts them, and that is all
                log.info(
                    "request",
                    extra={
                        "request_id": request_id,
                        "method": scope["method"],
                        "route": route,
                        "status": status,
                        "ms": round(1e3 * seconds, 2),
                        "bearer": state.get("bearer"),
                    },
                )
