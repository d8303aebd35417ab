"""The events that a service has stored to a frame that training reads."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from pathlib import Path

import polars as pl

from shortlist.data.ids import as_numbers
from shortlist.errors import DataError
from shortlist.schema import Schema
from shortlist.service.recent import moments
from shortlist.service.settings import STATE_FILE
from shortlist.service.state import State, open_state


def stored_events(place: str) -> pl.DataFrame:
    """The events in ``place``, which is a service's folder, its file of SQLite, or the address of a state: user_id, item_id, timestamp
    and event_id, by time.

    Ids are whole numbers where all of them can be, else texts. An event that came without a time has the one of its storing.
    """
    state = open_state(_address(place))
    try:
        return events_frame(state)
    finally:
        state.close()


def named_as(frame: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """The same with its columns called as in the files of a data set."""
    names = {"user_id": schema.sequence_id, "item_id": schema.item_column, "timestamp": schema.timestamp}
    return frame.rename({ours: theirs for ours, theirs in names.items() if theirs is not None})


def events_frame(state: State) -> pl.DataFrame:
    """All events of a state."""
    columns: dict[str, list[str]] = {"user_id": [], "item_id": [], "event_id": []}
    times: list[int] = []
    for user, events in groupby(state.all_events(), key=attrgetter("user_id")):
        own = list(events)
        columns["user_id"] += [user] * len(own)
        columns["item_id"] += [event.item_id for event in own]
        columns["event_id"] += [event.event_id for event in own]
        times += moments(own)
    users, items, ids = (pl.Series(name, values, dtype=pl.String) for name, values in columns.items())
    frame = pl.DataFrame([_numbers(users), _numbers(items), pl.Series("timestamp", times, dtype=pl.Int64), ids])
    return frame.sort("timestamp", maintain_order=True)


def _numbers(ids: pl.Series) -> pl.Series:
    """The same as whole numbers, if that is what they all are."""
    numbers = as_numbers(ids) if len(ids) else None
    return ids if numbers is None else numbers


def _address(place: str) -> str:
    if "://" in place:
        return place
    path = Path(place)
    file = path / STATE_FILE if path.is_dir() else path
    if not file.is_file():
        raise DataError(
            f"There are no stored events in {place}: {file} is not there. Name the folder of a service, such as my.bundle.service, "
            "or the address of its state."
        )
    return f"sqlite:///{file}"
