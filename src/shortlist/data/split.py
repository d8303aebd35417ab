"""One data set to parts for training, validation and test, each cut so that it holds nothing later than its own events.

A part carries its own events and the history before them; vocabularies and features are shared by all parts. Events of
equal time keep the order of the file.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from shortlist.contracts import Interactions
from shortlist.data.dataset import Dataset
from shortlist.errors import DataError, SettingsError
from shortlist.features import running_total

Parts = tuple[Dataset, Dataset, Dataset]


def split_by_time(dataset: Dataset, *, valid: float = 0.1, test: float = 0.1) -> Parts:
    """Cut at two moments: about the last ``test`` of the events are the test part, the ``valid`` before them validation.

    Events of one time stay together, so every training event is older than every validation event, and those than every
    test event. The parts are ``strict``: a history holds only events of earlier times. Raises :class:`DataError` without
    timestamps, or if all events fall into one part.
    """
    _check_shares(valid, test)
    first = _moment(dataset, 1 - valid - test) if valid else _moment(dataset, 1 - test)
    second = _moment(dataset, 1 - test)
    train_stop, valid_stop = _stops_before(dataset, first), _stops_before(dataset, second)
    start, stop = dataset.events.offsets[:-1], dataset.events.offsets[1:]
    parts = _cut(dataset, start, train_stop), _cut(dataset, train_stop, valid_stop), _cut(dataset, valid_stop, stop)
    if not len(parts[0].targets()) or not len(parts[2].targets()):
        raise DataError(
            f"The times of the events leave nothing on one side of the cut (valid={valid}, test={test}): too many are equal. "
            "Use split_last_out, or other shares."
        )
    return tuple(replace(part, events=replace(part.events, strict=True)) for part in parts)  # type: ignore[return-value]


def split_last_out(dataset: Dataset) -> Parts:
    """Leave one out: of each row with 3 or more liked events, the last is its test event and the one before validation.

    What comes after the last liked event (a disliked item, say) is in no part. The common protocol of the literature; it
    lets a model learn from others' later events, which :func:`split_by_time` does not.
    """
    before_last, after_last = _before_last(dataset, 1), _before_last(dataset, 1) + 1
    two_back = _before_last(dataset, 2)
    enough = _num_liked(dataset) >= 3
    start, stop = dataset.events.offsets[:-1], dataset.events.offsets[1:]
    train_stop = torch.where(enough, two_back, stop)
    valid_stop = torch.where(enough, before_last, stop)
    test_stop = torch.where(enough, after_last, stop)
    return _cut(dataset, start, train_stop), _cut(dataset, train_stop, valid_stop), _cut(dataset, valid_stop, test_stop)


def split_random(dataset: Dataset, *, valid: float = 0.1, test: float = 0.1, seed: int = 0) -> Parts:
    """Draw each event into a part at random. This leaks the future into training: figures come out too good.

    The history of a validation or test event is the row's training events, in time order.
    """
    _check_shares(valid, test)
    drawn = torch.rand(len(dataset.events), generator=torch.Generator().manual_seed(seed))
    kinds = (drawn < valid + test).long() + (drawn < test).long()  # 0 train, 1 validation, 2 test
    parts = []
    for kind in range(3):
        order = torch.argsort(kinds, stable=True)
        order = order[(kinds[order] == 0) | (kinds[order] == kind)]
        order = order[torch.argsort(dataset.events.rows()[order], stable=True)]
        events = _reordered(dataset.events, order)
        learnt = torch.bincount(dataset.events.rows()[kinds == 0], minlength=events.num_rows) if kind else 0
        context = None if dataset.context is None else dataset.context.take(order)
        parts.append(replace(dataset, events=events, target_start=events.offsets[:-1] + learnt, context=context))
    return parts[0], parts[1], parts[2]


def hold_back(dataset: Dataset, *, fraction: float = 0.1) -> tuple[Dataset, Dataset]:
    """(earlier, later): about the last ``fraction`` of the part's own events, for a stage that must not see the others'.

    By time where there are timestamps, one moment for all; else the last of each row that has two or more (at least one).
    """
    _check_shares(0.0, fraction)
    start, stop = dataset.target_start, dataset.events.offsets[1:]
    if dataset.events.times is not None:
        cut = torch.maximum(_stops_before(dataset, _moment(dataset, 1 - fraction)), start)
    else:
        own = stop - start
        cut = stop - torch.where(own >= 2, (own * fraction).ceil().long(), 0)
    earlier, later = _cut(dataset, start, cut), _cut(dataset, cut, stop)
    if not len(earlier.targets()) or not len(later.targets()):
        raise DataError(
            f"There are too few events to hold back {fraction:.0%} of them for the ranker: {len(dataset.targets())}. "
            "Train without a ranker, or on more events."
        )
    return earlier, later


def hold_last(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """(earlier, last): each row's last liked event of the part's own, of rows with two or more of them."""
    cut = _before_last(dataset, 1)
    enough = (_num_liked(dataset) >= 2) & (cut > dataset.target_start)
    stop = dataset.events.offsets[1:]
    cut = torch.where(enough, cut, stop)
    return _cut(dataset, dataset.target_start, cut), _cut(dataset, cut, torch.where(enough, cut + 1, stop))


def _cut(dataset: Dataset, start: Tensor, stop: Tensor) -> Dataset:
    """The part whose own events are at positions ``start`` (R,) to ``stop`` (R,) of each row; what follows is left out."""
    keep = torch.arange(len(dataset.events)) < stop[dataset.events.rows()]
    events = dataset.events.select(keep)
    own = start - dataset.events.offsets[:-1]
    context = None if dataset.context is None else dataset.context.take(keep.nonzero().squeeze(1))
    return replace(dataset, events=events, target_start=events.offsets[:-1] + own, context=context)


def _moment(dataset: Dataset, share: float) -> int:
    """The time before which about ``share`` of the part's own events lie."""
    if dataset.events.times is None:
        raise DataError(
            "A split by time needs timestamps, and the events have none. Name their column (schema.timestamp), or use "
            "split_last_out, which goes by the order of the file."
        )
    times = dataset.events.times[dataset.own()].sort().values
    if not len(times):
        raise DataError("There are no events to split.")
    return int(times[min(int(len(times) * share), len(times) - 1)])


def _stops_before(dataset: Dataset, moment: int) -> Tensor:
    """For each row (R,) the position of its first event at or after ``moment``."""
    events = dataset.events
    assert events.times is not None
    early = running_total((events.times < moment).long())  # (E+1,)
    return events.offsets[:-1] + early[events.offsets[1:]] - early[events.offsets[:-1]]


def _liked(dataset: Dataset) -> Tensor:
    events = dataset.events
    return (torch.ones(len(events), dtype=torch.bool) if events.liked is None else events.liked) & dataset.own()


def _num_liked(dataset: Dataset) -> Tensor:
    total = running_total(_liked(dataset).long())
    return total[dataset.events.offsets[1:]] - total[dataset.events.offsets[:-1]]


def _before_last(dataset: Dataset, back: int) -> Tensor:
    """For each row (R,) the position of its last own liked event (``back`` = 1), or of the one before; else the row's end."""
    offsets = dataset.events.offsets
    positions = _liked(dataset).nonzero().squeeze(1)
    total = running_total(_liked(dataset).long())[offsets[1:]]  # liked events up to each row's end
    wanted = (total - back).clamp(min=0, max=max(len(positions) - 1, 0))
    found = positions[wanted] if len(positions) else offsets[1:]
    return torch.where(_num_liked(dataset) >= back, found, offsets[1:])


def _reordered(events: Interactions, order: Tensor) -> Interactions:
    """The events at the positions ``order``, which keeps each row's together."""
    columns = {name: getattr(events, name) for name in ("times", "ratings", "weights", "liked")}
    taken = {name: None if column is None else column[order] for name, column in columns.items()}
    offsets = running_total(torch.bincount(events.rows()[order], minlength=events.num_rows))
    return replace(events, offsets=offsets, items=events.items[order], **taken)


def _check_shares(valid: float, test: float) -> None:
    if not (0 <= valid < 1 and 0 < test < 1 and valid + test < 1):
        raise SettingsError(f"valid={valid} and test={test} are shares of the events: 0 to 1, together below 1, test above 0.")
