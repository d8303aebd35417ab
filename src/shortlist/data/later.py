"""Events that came after a data set, encoded with its vocabularies: a part to evaluate on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from shortlist.contracts import Interactions
from shortlist.data.dataset import Dataset
from shortlist.data.load import read_dataset
from shortlist.errors import DataError
from shortlist.features import running_total


def read_later(events: Any, dataset: Dataset) -> Dataset:
    """Read ``events`` as a part whose known history is all of ``dataset``.

    Users and items that ``dataset`` does not know are left out and counted in the notes. Raises :class:`DataError` if
    nothing is left, or if an event is not later than the data set's last.
    """
    known = dataset.events
    later = read_dataset(events, schema=dataset.schema)
    users = dataset.encoders.users.encode(later.encoders.users.ids)
    items = dataset.encoders.items.encode(later.encoders.items.ids)
    row = torch.from_numpy(np.concatenate(([0], users)))[later.events.rows()].long()
    item = torch.from_numpy(np.concatenate(([0], items)))[later.events.items.long()]
    keep = (row > 0) & (item > 0)
    notes = (*later.notes, f"{int((~keep).sum())} of {len(keep)} later events have a user or an item that is not known: left out")
    if not bool(keep.any()):
        raise DataError("None of the later events has both a user and an item that the model knows. Are the ids the same?")
    fresh = later.events.select(keep)
    if known.times is not None and fresh.times is not None and len(known) and int(fresh.times.min()) <= int(known.times.max()):
        raise DataError(
            f"The events begin at {int(fresh.times.min())}, and the model's data goes on to {int(known.times.max())}: they are no "
            "later events. Give a file of what came after."
        )
    rows = torch.cat((known.rows(), row[keep]))
    order = torch.argsort(rows, stable=True)
    columns = {}
    for name in ("times", "ratings", "weights", "liked"):
        old, new = getattr(known, name), getattr(fresh, name)
        columns[name] = None if old is None or new is None else torch.cat((old, new))[order]
    offsets = running_total(torch.bincount(rows, minlength=known.num_rows))
    together = Interactions(offsets, torch.cat((known.items, item[keep].to(known.items.dtype)))[order], known.num_items, strict=known.strict, **columns)
    return replace(dataset, events=together, target_start=offsets[:-1] + known.lengths, context=None, notes=notes)
