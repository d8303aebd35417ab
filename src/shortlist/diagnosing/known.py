"""A model and a part it is judged on to the events that it may have learnt from."""

from __future__ import annotations

from shortlist.data.dataset import Dataset
from shortlist.model import Model, TrainedUntil


def known_events(model: Model, test: Dataset) -> Dataset:
    """What ``model`` was fitted on, by which items are popular, or cold.

    A model from a bundle comes with the histories to serve from, which may hold the part's own events: there it is all
    that came before them, or of sessions all others.
    """
    if TrainedUntil.of(model.dataset) == model.trained_until:
        return model.dataset
    if test.schema.sequence == "session":
        return model.dataset.without_rows(test.targets().lengths > 0)
    return test.before()
