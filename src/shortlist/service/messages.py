"""The JSON of the HTTP interface; the fields are named as the columns of the frames."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

MOST_ITEMS = 500  # k
MOST_EVENTS = 1_000
MOST_CANDIDATES = 1_000

Id = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | Annotated[str, Meta(max_length=500)]
Time = Annotated[int, Meta(ge=-(2**37), le=2**38)]  # seconds since 1970: what is beyond is in other units
_Value = str | int | float | bool | None
Row = dict[str, _Value | list[_Value]]  # by column; nothing deeper, which takes long to make a column of
Ids = Annotated[list[Id], Meta(max_length=10_000)]


class Message(msgspec.Struct, forbid_unknown_fields=True):
    """What a client sends: a misspelt field is an error, not ignored."""


class Event(Message):
    """One fresh event of the user, or of the anonymous session, who asks; without a timestamp it has just been."""

    item_id: Id
    timestamp: Time | None = None


Events = Annotated[list[Event], Meta(max_length=MOST_EVENTS)]


class RecommendRequest(Message):
    """Body of POST /recommend. ``detail`` asks for the times of the steps and for all candidates before re-ranking too."""

    user_id: Id | None = None
    events: Events = []
    k: Annotated[int, Meta(ge=1, le=MOST_ITEMS)] = 10
    items: Ids | None = None
    exclude: Ids | None = None
    where: Annotated[str, Meta(max_length=2_000)] | None = None
    exclude_seen: bool = True
    context: Row | None = None
    candidates: Annotated[int, Meta(ge=1, le=MOST_CANDIDATES)] | None = None
    diversity: Annotated[float, Meta(ge=0, le=1)] | None = None
    caps: dict[str, Annotated[int, Meta(ge=1)]] | None = None
    detail: bool = False


class RankRequest(Message):
    """Body of POST /rank: the items to put in order."""

    items: Annotated[list[Id], Meta(min_length=1, max_length=MOST_CANDIDATES)]
    user_id: Id | None = None
    events: Events = []
    context: Row | None = None


class ReportedEvent(Message):
    """One event of POST /events. ``event_id`` makes sending it again harmless; without one it gets one."""

    user_id: Id
    item_id: Id
    timestamp: Time | None = None
    event_id: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class EventsRequest(Message):
    """Body of POST /events."""

    events: Annotated[list[ReportedEvent], Meta(min_length=1, max_length=MOST_EVENTS)]


class ItemsRequest(Message):
    """Body of PUT /items: rows of the items' table, with all columns that the items had."""

    items: Annotated[list[Row], Meta(min_length=1, max_length=MOST_EVENTS)]


class ReloadRequest(Message):
    """Body of POST /admin/reload; without ``bundle`` the folder that the service was started with is looked at again."""

    bundle: Annotated[str, Meta(min_length=1)] | None = None


class Versions(msgspec.Struct):
    """What an answer was made with: the bundle, and it with the changes of items up to a number."""

    model: str
    index: str


class RankedItem(msgspec.Struct):
    """One item of an answer."""

    item_id: int | str
    score: float
    rank: int
    title: str | None


class RecommendResponse(msgspec.Struct, omit_defaults=True):
    """Answer of POST /recommend and of POST /rank.

    ``source`` says what it was made from: "model" (a known user), "session" (events alone), "features" or "popularity"
    (nothing is known); it is null for a user whom the caller has no right to know of. ``ages_s`` are the seconds since the
    model was trained, the index last refreshed, and the newest event of the bundle. ``degraded`` names what was not to
    be had.
    """

    user_id: int | str | None
    items: list[RankedItem]
    source: str | None
    unknown_items: list[int | str]
    versions: Versions
    ages_s: dict[str, float | None]
    degraded: list[str] = []
    stages_ms: dict[str, float] | None = None
    retrieved: list[RankedItem] | None = None


class SimilarResponse(msgspec.Struct):
    """Answer of GET /items/{id}/similar."""

    item_id: int | str
    items: list[RankedItem]
    versions: Versions


class EventsResponse(msgspec.Struct):
    """Answer of POST /events, when the events are on disk; ``event_ids`` are theirs, in order."""

    stored: int
    duplicates: int
    event_ids: list[str]


class ItemsResponse(msgspec.Struct):
    """Answer of PUT and DELETE of items, when the change is on disk; answers whose index is of this revision know it."""

    revision: int


class ReadyResponse(msgspec.Struct):
    """Answer of GET /health/ready."""

    status: str
    model: str
    items: int
    versions: Versions
    ages_s: dict[str, float | None]


class SwapResponse(msgspec.Struct):
    """Answer of the routes that swap the bundle: what serves now, and what served before."""

    versions: Versions
    before: Versions


class ErrorResponse(msgspec.Struct):
    """Every answer that is not a success."""

    error: str
    request_id: str | None = None
