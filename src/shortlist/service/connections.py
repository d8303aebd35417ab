"""HTTP connections that wait for nobody for long: uvicorn's, with limits on the time and the room that a request takes to come.

uvicorn has one for the time between requests. Without the others, a thousand clients that send a byte a second are a thousand
connections that never end.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from shortlist.service.messages import ErrorResponse

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

WHOLE_S = 10.0  # for a request from its beginning to its end, and for a client to take what is sent
MOST_HEAD = 64 * 1024  # bytes of a request's line and headers
MOST_AHEAD = 16  # requests that a client sends before it has the answer to the one before them


class _Joining:
    """A transport that sends the head of an answer together with the beginning of its body.

    uvicorn writes them one after the other, and each write is a call of the system and wakes the client.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop, self._head = transport, loop, b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send ``data``, a head with what is written next."""
        if not self._head and data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._loop.call_soon(self._send_head)  # where no body comes at once
        else:
            head, self._head = self._head, b""
            self._transport.write(head + data)

    def close(self) -> None:
        """Close it when all is sent."""
        self._send_head()
        self._transport.close()

    def _send_head(self) -> None:
        if self._head and not self._transport.is_closing():
            self.write(b"")


class Connection(HttpToolsProtocol):
    """One connection. Of a request that is answered, a route that reads its body limits that by itself."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._is_coming = self._is_head = False  # a request that has begun, and its line and headers
        self._head_size = 0
        self._answered: RequestResponseCycle | None = None
        self._wait: asyncio.TimerHandle | None = None  # for a whole request
        self._stall: asyncio.TimerHandle | None = None  # for the client to read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(cast("asyncio.Transport", _Joining(transport, self.loop)))
        self._wait = self.loop.call_later(WHOLE_S, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        for timer in (self._wait, self._stall):
            if timer is not None:
                timer.cancel()
        if (
            self._answered is not None and not self._answered.response_complete
        ):  # uvicorn looks at the last request alone
            self._answered.disconnected = True
            self._answered.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come of a request, or of several."""
        self._head_size += len(data)  # 0 again where a request begins: what came with that is not counted
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._is_head and self._head_size > MOST_HEAD:
            self._refuse(431, f"The line and the headers of a request have at most {MOST_HEAD} bytes.")
        if self._is_coming:
            if self._wait is None:
                self._wait = self.loop.call_later(WHOLE_S, self._too_slow)
        elif self._wait is not None:
            self._wait.cancel()
            self._wait = None

    def on_message_begin(self) -> None:
        """A request begins. An error here ends the parser, and the connection with status 400.

        uvicorn reads on for every answer that it gives, however many requests lie there already.
        """
        if len(self.pipeline) >= MOST_AHEAD:
            raise ValueError(f"more than {MOST_AHEAD} requests came before they were answered")
        super().on_message_begin()
        self._is_coming = self._is_head = True
        self._head_size = 0

    def on_headers_complete(self) -> None:
        """Its headers are there: it is answered from now on."""
        self._is_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of it is there."""
        self._is_coming = False
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        """The client does not read what it is sent."""
        super().pause_writing()
        if self._stall is None:
            self._stall = self.loop.call_later(WHOLE_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _too_slow(self) -> None:
        self._wait = None
        if self.flow.read_paused:  # it is we who do not read on
            self._wait = self.loop.call_later(WHOLE_S, self._too_slow)
        elif self._is_head:
            self._refuse(408, f"The request has not come within {WHOLE_S:g} seconds.")
        else:
            self.transport.close()

    def _refuse(self, status: int, why: str) -> None:
        """Answer without having been asked, and end the connection."""
        if not self.transport.is_closing():
            body = msgspec.json.encode(ErrorResponse(why))
            head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(head.encode() + body)
            self.transport.close()
