"""A request to its checked message, and answers and errors to responses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from shortlist.errors import BundleError, RequestError, ShortlistError, StateError, StateFull
from shortlist.service.lanes import Busy, Late
from shortlist.service.messages import ErrorResponse

Endpoint = Callable[[Request], Awaitable[Response]]
Wanted = TypeVar("Wanted")

_DIGITS = 20  # of a number that may be one

_encoder = msgspec.json.Encoder()


async def read(
    request: Request, decoder: msgspec.json.Decoder[Wanted], *, most_bytes: int, timeout_s: float, empty: bytes = b""
) -> Wanted:
    """The message in the body; one that is too long, too slow or no such message is an error of the client.

    ``empty`` is what a body without content stands for.
    """
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and (len(stated) > _DIGITS or int(stated) > most_bytes):
        raise HTTPException(413, f"The body has {stated[:_DIGITS]} bytes; at most {most_bytes} are read.")
    try:
        async with asyncio.timeout(timeout_s):
            parts, size = [], 0
            async for part in request.stream():
                size += len(part)
                if size > most_bytes:
                    raise HTTPException(413, f"The body has more than {most_bytes} bytes, which is all that is read.")
                parts.append(part)
    except TimeoutError as error:
        raise HTTPException(408, f"The body has not come within {timeout_s:g} seconds.") from error
    try:
        return decoder.decode(b"".join(parts) or empty)
    except msgspec.DecodeError as error:
        raise HTTPException(400, f"{error}.") from error
    except (RecursionError, UnicodeDecodeError) as error:
        raise HTTPException(400, f"The body cannot be read: {error}.") from error


def count(request: Request, name: str, *, default: int, most: int) -> int:
    """The whole number from 1 to ``most`` that the query string has under ``name``."""
    given = request.query_params.get(name, str(default))
    if not given.isdecimal() or len(given) > _DIGITS or not 1 <= int(given) <= most:
        raise RequestError(f"{name} is {given[:_DIGITS]!r}. It is a whole number from 1 to {most}.")
    return int(given)


def respond(values: object, status: int = 200) -> Response:
    """An answer in JSON."""
    return Response(_encoder.encode(values), status, media_type="application/json")


def on_error(request: Request, error: Exception) -> Response:
    """What a client is told of an error; of ours, only that there was one."""
    status, message = _told(error)
    headers = {"retry-after": "1"} if status in (429, 503) else {}
    if status in (408, 413):  # the rest of the body is not waited for
        headers["connection"] = "close"
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    found = ErrorResponse(message, request.state.request_id)
    return Response(_encoder.encode(found), status, headers, media_type="application/json")


def _told(error: Exception) -> tuple[int, str]:
    if isinstance(error, HTTPException):
        return error.status_code, error.detail or HTTPStatus(error.status_code).phrase
    if isinstance(error, Busy):
        return 429, "More requests wait than can be answered soon. Come again in a second."
    if isinstance(error, Late):
        return 503, "The answer has taken too long. Ask for less, or come again."
    if isinstance(error, StateFull):
        return 507, str(error)
    if isinstance(error, StateError):
        return 503, str(error)
    if isinstance(error, BundleError):
        return 409, str(error)
    if isinstance(error, ShortlistError):
        return 400, str(error)
    if isinstance(error, ClientDisconnect):
        return 400, "The connection was closed before the body had come."
    return 500, "Something went wrong here. The log has more, under the request's id."


HANDLED: tuple[Any, ...] = (HTTPException, Busy, Late, ShortlistError, ClientDisconnect)
