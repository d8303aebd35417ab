"""What the page asks of a recommender to what it shows: items by id, a user's past, and why an item stands where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from shortlist.service.page.messages import Contribution, ExplainRequest, ExplainResponse, KnownItem, PastEvent
from shortlist.service.page.pictures import has_picture
from shortlist.vocabulary import Id

if TYPE_CHECKING:
    from shortlist.recommender import Recommender

Events = Sequence[Mapping[str, Any]]


def known_items(recommender: Recommender, indices: Sequence[int]) -> list[KnownItem]:
    """Items by their indices, with title and whether there is a picture."""
    ids = recommender.dataset.encoders.items.decode(indices).tolist()
    titles = (title or None for title in recommender.titles(ids))
    return [KnownItem(*row) for row in zip(ids, titles, has_picture(recommender.dataset, indices), strict=True)]


def past_events(recommender: Recommender, user_id: Id, *, recent: Events, limit: int) -> list[PastEvent]:
    """The last ``limit`` events of a user, newest first: the stored ones, and the ``recent`` ones where they belong in time.

    Of a user whom nobody knows there are none.
    """
    dataset, schema = recommender.dataset, recommender.dataset.schema
    row = int(dataset.encoders.users.encode([user_id])[0])
    start, stop = dataset.events.offsets[row : row + 2].tolist()
    kept = slice(max(start, stop - limit), stop)
    indices = dataset.events.items[kept].tolist()
    times = [None] * len(indices) if dataset.events.times is None else dataset.events.times[kept].tolist()
    liked = [True] * len(indices) if dataset.events.liked is None else dataset.events.liked[kept].tolist()
    fresh = dataset.encoders.items.encode([event[schema.item_column] for event in recent]).tolist()
    moments = [None if schema.timestamp is None else event.get(schema.timestamp) for event in recent]
    events = list(zip(indices + fresh, times + moments, liked + [True] * len(fresh), strict=True))
    if None not in times + moments:
        events.sort(key=lambda event: event[1])  # stable: equal times keep their order
    latest = [event for event in reversed(events) if event[0]][:limit]
    items = known_items(recommender, [index for index, _, _ in latest])
    return [
        PastEvent(item.item_id, item.title, item.has_image, moment, is_liked)
        for item, (_, moment, is_liked) in zip(items, latest, strict=True)
    ]


def explained(recommender: Recommender, asked: ExplainRequest, *, recent: Events) -> ExplainResponse:
    """What :meth:`~shortlist.recommender.Recommender.explain` says of one request; the ``recent`` events of the user come before those asked with."""
    schema = recommender.dataset.schema
    item, time = schema.item_column, schema.timestamp
    events = [{item: event[item], time: None if time is None else event.get(time)} for event in recent]
    events += [{item: event.item_id, time: event.timestamp} for event in asked.events]
    if time is None or any(event[time] is None for event in events):  # times of a few say nothing of the order of all
        events = [{item: event[item]} for event in events]
    found = recommender.explanation(asked.user_id, asked.item_id, events=events or None, context=asked.context)
    ids = recommender.dataset.encoders.items.decode(found.contributions.items[0].numpy()).tolist()
    titles = (title or None for title in recommender.titles(ids))
    rows = zip(ids, titles, found.contributions.scores[0].tolist(), strict=True)
    return ExplainResponse(asked.item_id, found.model, [Contribution(*row) for row in rows])
