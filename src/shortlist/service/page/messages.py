"""The JSON of the routes that only the page asks."""

from __future__ import annotations

import msgspec

from shortlist.service.messages import Event, Row
from shortlist.vocabulary import Id


class ExplainRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /explain."""

    item_id: Id
    user_id: Id | None = None
    events: list[Event] = []
    context: Row | None = None


class Contribution(msgspec.Struct):
    """What one event of the history adds to the score of an item."""

    item_id: Id
    title: str | None
    contribution: float


class ExplainResponse(msgspec.Struct):
    """Answer of POST /explain: what moved the score that ``model`` gives the item, the largest contribution first."""

    item_id: Id
    model: str
    contributions: list[Contribution]


class KnownItem(msgspec.Struct):
    """An item of GET /catalogue."""

    item_id: Id
    title: str | None
    has_image: bool


class KnownUser(msgspec.Struct):
    """A user of GET /users, with how many events are stored."""

    user_id: Id
    events: int


class PastEvent(msgspec.Struct):
    """An event of GET /users/{user_id}/history. Only what is ``liked`` is history to the models."""

    item_id: Id
    title: str | None
    has_image: bool
    timestamp: int | None
    liked: bool
