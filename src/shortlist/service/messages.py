"""The JSON of the HTTP interface; the fields are named as the columns of the frames."""

from __future__ import annotations

from typing import Any

import msgspec

from shortlist.vocabulary import Id


class Event(msgspec.Struct, forbid_unknown_fields=True):
    """One fresh event of the user, or of the anonymous session, who asks."""

    item_id: Id
    timestamp: int | None = None


class RecommendRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /recommend."""

    user_id: Id | None = None
    events: list[Event] = []
    k: int = 10
    items: list[Id] | None = None
    exclude: list[Id] | None = None
    where: str | None = None
    exclude_seen: bool = True
    context: dict[str, Any] | None = None
    diversity: float | None = None
    caps: dict[str, int] | None = None


class RankedItem(msgspec.Struct):
    """One item of an answer."""

    item_id: Id
    score: float
    rank: int
    title: str | None


class RecommendResponse(msgspec.Struct):
    """Answer of POST /recommend. ``source`` says what it was made from.

    ``ages_s`` are the seconds since the model was trained, the index last refreshed, and the newest stored event.
    """

    user_id: Id | None
    items: list[RankedItem]
    source: str
    unknown_items: list[Id]
    ages_s: dict[str, float | None]


class ErrorResponse(msgspec.Struct):
    """Every answer that is not a success."""

    error: str
