"""Sessions to parts for training, validation and test that each hold whole sessions."""

from __future__ import annotations

import torch

from shortlist.data.dataset import Dataset
from shortlist.data.split import cut, with_note
from shortlist.errors import SettingsError


def split_sessions(
    dataset: Dataset, *, valid: float | int = 0.1, test: float | int = 0.1
) -> tuple[Dataset, Dataset, Dataset]:
    """The last sessions are the test, those before them the validation; each part has whole sessions and no others.

    ``valid`` and ``test`` are shares of the sessions, or numbers of them (whole ones). They go by the time of a session's
    first event, or without timestamps by the order of their ids. In a held session the first event is only known: every later one is
    to be predicted from those before it (``evaluate(…, moments="each")``).
    """
    if dataset.schema.sequence != "session":
        raise SettingsError(
            'split_sessions is for sessions, and these rows are users. Set schema.sequence = "session", or use split_by_time '
            "or split_last_out."
        )
    events = dataset.events
    begins, ends = events.offsets[:-1], events.offsets[1:]
    present = (ends > begins).nonzero().squeeze(1)
    if events.times is not None:
        present = present[torch.argsort(events.times[begins[present]], stable=True)]
    num_test, num_valid = (part if isinstance(part, int) else round(part * len(present)) for part in (test, valid))
    if min(num_test, num_valid) < 0:
        raise SettingsError(f"valid and test are shares or numbers of sessions from 0; found {valid} and {test}.")
    if num_test + num_valid >= len(present):
        raise SettingsError(
            f"valid={valid} and test={test} of {len(present)} sessions leave none for train. Ask for fewer."
        )
    place = torch.zeros(len(begins), dtype=torch.int64)
    place[present[len(present) - num_test - num_valid :]] = 1
    place[present[len(present) - num_test :]] = 2
    second = torch.minimum(begins + 1, ends)

    def part(number: int) -> Dataset:
        stops = torch.where(place == number, ends, begins)
        return cut(dataset, starts=dataset.target_start if number == 0 else second, stops=stops)

    train = part(0)
    return train, with_note(part(1), train, "valid"), with_note(part(2), train, "test")
