"""A data set to parts for training, validation and test, each cut so that it holds nothing later than its own events.

Vocabularies and feature encoders are shared by all parts, and were fitted on the whole file: they say which ids and
values exist. Whatever counts events (popularity, sampling, item-kNN) is computed from the part it is given.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from shortlist.contracts import Interactions
from shortlist.data.dataset import Dataset
from shortlist.errors import DataError, SettingsError
from shortlist.features import running_total


def split_by_time(dataset: Dataset, *, valid: float = 0.1, test: float = 0.1) -> tuple[Dataset, Dataset, Dataset]:
    """Cut at two moments that hold for everybody: all of train is earlier than valid, all of valid earlier than test.

    The shares are of the events, as near as moments allow: events of one time are never divided. The history of a part
    is all that came before its moment. In the parts a history is *strictly* earlier than what it predicts. A share of 0
    gives a part without events of its own. Without timestamps this is a :class:`DataError`.
    """
    _check_shares(valid, test)
    times = _times(dataset, "split_by_time")
    ranked = times[dataset.own()].sort().values
    test_cut = _moment(ranked, test)
    valid_cut = (
        test_cut
        if valid == 0
        else _moment(ranked[ranked < test_cut], valid * len(ranked) / int((ranked < test_cut).sum()))
    )
    before_valid, before_test = _first_at(dataset, times, valid_cut), _first_at(dataset, times, test_cut)
    ends = dataset.events.offsets[1:]
    train = cut(dataset, starts=dataset.target_start, stops=before_valid, strict=True)
    return (
        train,
        with_note(cut(dataset, starts=before_valid, stops=before_test, strict=True), train, "valid"),
        with_note(cut(dataset, starts=before_test, stops=ends, strict=True), train, "test"),
    )


def split_last_out(dataset: Dataset) -> tuple[Dataset, Dataset, Dataset]:
    """Each row's last liked event is its test, the one before its validation, and what came before that its training.

    Rows with fewer than three liked events stay in train only. Where times are equal, the order of the file decides
    which event is last. Events after the last liked one are in no part.
    """
    begins, ends = dataset.events.offsets[:-1], dataset.events.offsets[1:]
    liked = _liked_own(dataset)
    rows = dataset.events.rows()
    from_end = _counts(rows, liked, len(begins))[rows] - _rank(
        rows, liked, begins
    )  # of a liked event: 0 for the last one
    enough = (_counts(rows, liked, len(begins)) >= 3)[rows]
    last, second = (ends.clone(), ends.clone())
    for place, target in enumerate((last, second)):
        chosen = (liked & enough & (from_end == place)).nonzero().squeeze(1)
        target[rows[chosen]] = chosen
    has_targets = second < ends
    after = int((ends - last)[has_targets].sum()) - int(has_targets.sum())
    notes = (
        dataset.notes
        if after == 0
        else (*dataset.notes, f"last-out: {after:,} events after their row's last liked one are in no part")
    )
    whole = replace(dataset, notes=notes)
    train = cut(whole, starts=dataset.target_start, stops=second)
    return (
        train,
        with_note(cut(whole, starts=second, stops=torch.minimum(second + 1, ends)), train, "valid"),
        with_note(cut(whole, starts=last, stops=torch.minimum(last + 1, ends)), train, "test"),
    )


def split_random(
    dataset: Dataset, *, valid: float = 0.1, test: float = 0.1, seed: int = 0
) -> tuple[Dataset, Dataset, Dataset]:
    """Draw the events of each part at random. This leaks the future: a history may hold events later than its target.

    Use it to compare with papers that split so, never to say how good a recommender will be. The known history of valid
    and of test is train's events, and in their rows these come first.
    """
    _check_shares(valid, test)
    own = dataset.own().nonzero().squeeze(1)
    drawn = own[torch.randperm(len(own), generator=torch.Generator().manual_seed(seed))]
    num_test, num_valid = round(test * len(own)), round(valid * len(own))
    if num_test + num_valid >= len(own):
        raise DataError(
            f"{len(own)} events are too few for the shares valid={valid} and test={test}: none is left to learn from."
        )
    place = torch.zeros(len(dataset.events), dtype=torch.int64)
    place[drawn[:num_test]] = 2
    place[drawn[num_test : num_test + num_valid]] = 1
    learnt = place == 0
    train = _gather(dataset, learnt.nonzero().squeeze(1), None)
    train = replace(
        train,
        target_start=train.events.offsets[:-1]
        + _counts(dataset.events.rows(), ~dataset.own(), dataset.events.num_rows),
    )
    parts = [
        with_note(_gather(dataset, (learnt | (place == part)).nonzero().squeeze(1), place), train, name)
        for part, name in ((1, "valid"), (2, "test"))
    ]
    return train, parts[0], parts[1]


def hold_back(dataset: Dataset, *, fraction: float = 0.1) -> tuple[Dataset, Dataset]:
    """Cut the part's own events in two: ``earlier`` for a retriever, ``later`` for a ranker that learns on its candidates.

    With timestamps the cut is one moment for everybody and ``later`` has strict histories. Without, it is the last
    ``fraction`` (rounded up) of each row with at least two events. The known history of ``later`` is exactly ``earlier``.
    """
    if not 0 < fraction < 1:
        raise SettingsError(f"fraction is a share between 0 and 1; found {fraction}.")
    ends = dataset.events.offsets[1:]
    if dataset.events.times is not None:
        times = dataset.events.times
        moment = _first_at(dataset, times, _moment(times[dataset.own()].sort().values, fraction))
    else:
        sizes = ends - dataset.target_start
        moment = ends - torch.where(sizes >= 2, torch.ceil(sizes * fraction).long(), 0)
    strict = dataset.events.times is not None or dataset.events.strict
    return cut(dataset, starts=dataset.target_start, stops=moment), cut(
        dataset, starts=moment, stops=ends, strict=strict
    )


def hold_last(dataset: Dataset) -> tuple[Dataset, Dataset | None]:
    """Take a validation part out of a training part: each row's last liked event, of sessions the latest tenth's.

    A row needs an earlier liked event to predict from. Where this would take more than a third of the liked events, it
    is done in fewer rows, evenly spread, to take about a tenth. Rows of held sessions leave training altogether. None
    where no row can give one.
    """
    events = dataset.events
    begins, ends, rows = events.offsets[:-1], events.offsets[1:], events.rows()
    liked = _liked_own(dataset)
    every = torch.ones_like(liked) if events.liked is None else events.liked
    last = ends.clone()
    last[rows[liked]] = liked.nonzero().squeeze(1)  # in order: of a row's liked events the last one stays
    able = ((_counts(rows, liked, len(begins)) > 0) & (_counts(rows, every, len(begins)) > 1)).nonzero().squeeze(1)
    total = int(liked.sum())
    if dataset.schema.sequence == "session":
        if events.times is not None:
            able = able[torch.argsort(events.times[last[able]], stable=True)]
        able = able[len(able) - math.ceil(len(able) / 10) :]
    elif len(able) > total // 3:
        able = able[:: math.ceil(10 * len(able) / max(total, 1))]
    if not len(able):
        return dataset, None
    held = torch.zeros(len(begins), dtype=torch.bool)
    held[able] = True
    learnt = torch.where(held, dataset.target_start if dataset.schema.sequence == "session" else last, ends)
    return (
        cut(dataset, starts=dataset.target_start, stops=learnt),
        cut(dataset, starts=torch.where(held, last, ends), stops=torch.where(held, last + 1, ends)),
    )


def _check_shares(valid: float, test: float) -> None:
    if not (0 <= valid < 1 and 0 < test < 1 and valid + test < 1):
        raise SettingsError(
            f"valid and test are shares of the events that leave some for train; found valid={valid}, test={test}."
        )


def _times(dataset: Dataset, function: str) -> Tensor:
    if dataset.events.times is None:
        raise DataError(
            f"{function} needs timestamps, and the events have none. Set schema.timestamp to the column that has them, "
            "or use split_last_out, which goes by the order of the events."
        )
    return dataset.events.times


def _moment(ranked: Tensor, share: float) -> int:
    """The time from which on about ``share`` of the sorted times lie; there are some before it and some from it on."""
    size = len(ranked)
    if size == 0 or ranked[0] == ranked[-1]:
        raise DataError(
            f"A split by time needs events of different times, and all {size} events to divide have one. Use split_last_out."
        )
    aim = min(max(round(size * (1 - share)), 1), size - 1)
    low, high = (int(torch.searchsorted(ranked, ranked[aim], right=right)) for right in (False, True))
    takes_low = low > 0 and (high == size or aim - low <= high - aim)
    return int(ranked[low if takes_low else high])


def _first_at(dataset: Dataset, times: Tensor, moment: int) -> Tensor:
    """For each row (R,) the position of its first event at or after ``moment``, not before the part's own begin."""
    earlier = _counts(dataset.events.rows(), times < moment, dataset.events.num_rows)
    return torch.maximum(dataset.events.offsets[:-1] + earlier, dataset.target_start)


def _liked_own(dataset: Dataset) -> Tensor:
    own = dataset.own()
    return own if dataset.events.liked is None else own & dataset.events.liked


def _counts(rows: Tensor, chosen: Tensor, num_rows: int) -> Tensor:
    """How many of the chosen events (E,) each row has (R,)."""
    return torch.bincount(rows[chosen], minlength=num_rows)


def _rank(rows: Tensor, chosen: Tensor, begins: Tensor) -> Tensor:
    """For each event (E,), how many chosen ones its row has up to and with it."""
    total = running_total(chosen.long())
    return total[1:] - total[begins][rows]


def cut(dataset: Dataset, *, starts: Tensor, stops: Tensor, strict: bool | None = None) -> Dataset:
    """The part whose row r has the events before ``stops[r]``, of which its own begin at ``starts[r]`` (or it has none)."""
    events = dataset.events
    kept = torch.arange(len(events)) < stops[events.rows()]
    cut = events.select(kept)
    own = (stops - torch.minimum(starts, stops)).clamp(min=0)
    context = None if dataset.context is None else dataset.context.take(kept.nonzero().squeeze(1))
    return replace(
        dataset,
        events=cut if strict is None else replace(cut, strict=strict),
        target_start=cut.offsets[1:] - own,
        context=context,
    )


def _gather(dataset: Dataset, chosen: Tensor, place: Tensor | None) -> Dataset:
    """The part with the chosen events (M,); with ``place`` (E,), those of place above 0 come last and are its own."""
    events = dataset.events
    rows = events.rows()
    lengths = torch.bincount(rows[chosen], minlength=events.num_rows)
    own = torch.zeros_like(lengths)
    if place is not None:
        is_own = place[chosen] > 0
        own = torch.bincount(rows[chosen[is_own]], minlength=events.num_rows)
        chosen = chosen[torch.argsort(rows[chosen] * 2 + is_own, stable=True)]

    def pick(column: Tensor | None) -> Tensor | None:
        return None if column is None else column[chosen]

    offsets = running_total(lengths)
    gathered = Interactions(
        offsets,
        events.items[chosen],
        events.num_items,
        pick(events.times),
        pick(events.ratings),
        pick(events.weights),
        pick(events.liked),
    )
    context = None if dataset.context is None else dataset.context.take(chosen)
    return replace(dataset, events=gathered, target_start=offsets[1:] - own, context=context)


def with_note(part: Dataset, train: Dataset, name: str) -> Dataset:
    """Count what the part asks for that training cannot know."""
    own = part.targets()
    cold_items = int((train.events.item_counts()[own.items.long()] == 0).sum())
    asked = own.lengths > 0
    cold_rows = int((asked & (train.events.lengths == 0)).sum())
    if not cold_items and not cold_rows:
        return part
    sequences = "users" if part.schema.sequence == "user" else "sessions"
    note = (
        f"{name}: {cold_rows:,} of {int(asked.sum()):,} {sequences} have no event in train, and {cold_items:,} of {len(own):,} events are "
        "of items that have none"
    )
    return replace(part, notes=(*part.notes, note))
