"""Training examples and evaluation requests: the right history, the right negatives, the same again when asked again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from shortlist.contracts import Sampling
from shortlist.data import Dataset, sample, split_last_out
from shortlist.data.batches import evaluation_batches
from shortlist.data.pairs import PairBatches
from shortlist.data.sample import Positives, draw_negatives


def _histories(dataset: Dataset) -> dict[tuple[int, int], list[int]]:
    """For each (user, time) the items before it, by a plain loop."""
    events, found = dataset.events, {}
    assert events.times is not None
    for row in range(events.num_rows):
        items: list[int] = []
        for position in range(int(events.offsets[row]), int(events.offsets[row + 1])):
            found[row, int(events.times[position])] = list(items)
            items.append(int(events.items[position]))
    return found


def test_an_epoch_holds_every_event_once_with_the_history_before_it(dataset: Dataset) -> None:
    batches = PairBatches(dataset, Sampling(history=4), batch_size=16, seed=3)
    wanted, met = _histories(dataset), []
    for step in range(batches.num_steps):
        examples = batches.get(0, step)
        requests = examples.requests
        assert requests.user is not None
        assert requests.time is not None
        assert requests.history is not None
        assert requests.length is not None
        for row in range(len(examples)):
            key = int(requests.user[row]), int(requests.time[row])
            assert requests.history[row, : requests.length[row]].tolist() == wanted[key][-4:]
            assert not requests.history[row, requests.length[row] :].any()
            met.append(key)
    assert sorted(met) == sorted(wanted)


def test_the_same_step_gives_the_same_examples_and_another_epoch_others(dataset: Dataset) -> None:
    def batches() -> PairBatches:
        return PairBatches(dataset, Sampling(negatives=3), batch_size=16, seed=3)

    first, again = batches().get(2, 4), batches().get(2, 4)
    assert torch.equal(first.items, again.items)
    assert first.negatives is not None
    assert again.negatives is not None
    assert torch.equal(first.negatives, again.negatives)
    assert not torch.equal(first.items, batches().get(3, 4).items)


@pytest.mark.parametrize("sampling", [Sampling(negatives=3), Sampling(shared_negatives=8)], ids=["own", "shared"])
def test_steps_are_the_same_in_any_order_and_made_by_several_threads(
    dataset: Dataset, sampling: Sampling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shortlist.data.pairs.TOGETHER", 48)  # made for three steps at once
    batches = PairBatches(dataset, sampling, batch_size=16, seed=3)
    in_order = [batches.get(1, step) for step in range(batches.num_steps)]
    own = {(int(row), int(item)) for row, item in zip(dataset.events.rows(), dataset.events.items, strict=True)}
    if sampling.negatives:
        for examples in in_order:
            assert examples.requests.user is not None
            assert examples.negatives is not None
            pairs = zip(examples.requests.user.tolist(), examples.negatives[:, 0].tolist(), strict=True)
            assert not any((row, item) in own for row, items in pairs for item in items)
    steps = torch.randperm(batches.num_steps, generator=torch.Generator().manual_seed(0)).tolist()
    with ThreadPoolExecutor(3) as pool:
        for step, examples in zip(steps, pool.map(lambda step: batches.get(1, step), steps), strict=True):
            assert torch.equal(examples.items, in_order[step].items)
            assert torch.equal(examples.negatives, in_order[step].negatives)  # type: ignore[arg-type]


def test_only_a_parts_own_events_are_targets(dataset: Dataset) -> None:
    _, valid, _ = split_last_out(dataset)
    batches = PairBatches(valid, Sampling(history=3), batch_size=100, seed=0)
    assert batches.num_examples == int((valid.events.offsets[1:] - valid.target_start).sum())
    assert batches.get(0, 0).requests.length is not None


def test_histories_of_a_strict_part_hold_only_earlier_times(dataset: Dataset) -> None:
    assert dataset.events.times is not None
    tied = replace(dataset.events, times=dataset.events.times // 86_400, strict=True)
    examples = PairBatches(replace(dataset, events=tied), Sampling(history=50), batch_size=1_000, seed=0).get(0, 0)
    requests = examples.requests
    assert requests.history_time is not None
    assert requests.time is not None
    assert requests.length is not None
    assert requests.history is not None
    inside = requests.history > 0
    assert (requests.history_time < requests.time[:, None])[inside].all()
    lax = PairBatches(
        replace(dataset, events=replace(tied, strict=False)), Sampling(history=50), batch_size=1_000, seed=0
    )
    assert lax.get(0, 0).requests.length.sum() > requests.length.sum()  # type: ignore[union-attr]


def test_ratings_are_targets_of_all_events(dataset: Dataset) -> None:
    liked = replace(dataset.events, liked=dataset.events.ratings >= 4)  # type: ignore[operator]
    examples = PairBatches(replace(dataset, events=liked), Sampling("ratings"), batch_size=1_000, seed=0).get(0, 0)
    assert len(examples) == len(dataset.events)
    assert examples.targets is not None
    assert set(examples.targets.flatten().tolist()) == {1, 2, 3, 4, 5}
    pairs = PairBatches(replace(dataset, events=liked), Sampling(), batch_size=1_000, seed=0)
    assert pairs.num_examples == int(liked.liked.sum())  # type: ignore[union-attr]


@pytest.mark.parametrize("bitmap_bytes", [2**28, 0])
def test_negatives_are_never_the_users_own_items(
    dataset: Dataset, bitmap_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "BITMAP_BYTES", bitmap_bytes)
    positives = Positives(dataset.events)
    rows = dataset.events.rows()
    drawn = draw_negatives(positives, rows, 30, generator=torch.Generator().manual_seed(0))
    owned = [set() for _ in range(dataset.events.num_rows)]
    for row, item in zip(rows.tolist(), dataset.events.items.tolist(), strict=True):
        owned[row].add(item)
    for row, items in zip(rows.tolist(), drawn.tolist(), strict=True):
        if len(owned[row]) < 18:
            assert not owned[row] & set(items)
    assert drawn.min() >= 1
    assert drawn.max() <= 20


@pytest.mark.parametrize("bitmap_bytes", [2**28, 0])
def test_columns_that_are_also_positive_are_found(
    dataset: Dataset, bitmap_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "BITMAP_BYTES", bitmap_bytes)
    positives = Positives(dataset.events)
    rows, columns = torch.tensor([1, 5, 0]), torch.tensor([3, 4, 7, 20, 1])
    wanted = torch.zeros(3, 5, dtype=torch.bool)
    for place, row in enumerate(rows.tolist()):
        own = dataset.events.items[dataset.events.offsets[row] : dataset.events.offsets[row + 1]].tolist()
        wanted[place] = torch.tensor([column in own for column in columns.tolist()])
    assert torch.equal(positives.among(rows, columns), wanted)


def test_drawn_negatives_are_uniform() -> None:
    from shortlist.contracts import Interactions

    one = Interactions(torch.tensor([0, 0, 2]), torch.tensor([2, 4], dtype=torch.int32), 5)
    drawn = draw_negatives(
        Positives(one), torch.ones(3_000, dtype=torch.int64), 10, generator=torch.Generator().manual_seed(0)
    )
    share = torch.bincount(drawn.flatten(), minlength=6) / drawn.numel()
    torch.testing.assert_close(share, torch.tensor([0, 1 / 3, 0, 1 / 3, 0, 1 / 3]), atol=0.01, rtol=0)


def test_shared_negatives_are_distinct_hold_the_targets_and_know_their_chance(dataset: Dataset) -> None:
    batches = PairBatches(dataset, Sampling(shared_negatives=8), batch_size=32, seed=0)
    met = torch.zeros(21)
    for epoch in range(400):
        examples = batches.get(epoch, 0)
        assert examples.negatives is not None
        assert examples.target_column is not None
        assert torch.equal(examples.negatives[examples.target_column], examples.items[:, 0])
        assert len(examples.negatives.unique()) == len(examples.negatives)
        met[examples.negatives] += 1
    assert examples.also_positive is not None
    assert examples.negatives_log_prob is not None
    assert examples.request is not None
    assert examples.also_positive[examples.request, examples.target_column].all()
    torch.testing.assert_close(examples.negatives_log_prob.exp(), met[examples.negatives] / 400, atol=0.08, rtol=0)


def test_targets_of_a_user_share_one_request_where_nothing_else_is_known(dataset: Dataset) -> None:
    known, alone = (
        PairBatches(dataset, Sampling(shared_negatives=8, history=history), batch_size=32, seed=0).get(0, 0)
        for history in (0, 1)
    )
    assert known.request is not None
    assert alone.request is None
    users = known.requests.user
    assert users is not None
    assert len(users) < 32
    assert users.tolist() == sorted(set(users.tolist()))
    assert alone.requests.user is not None
    assert sorted(zip(users[known.request].tolist(), known.items[:, 0].tolist(), strict=True)) == sorted(
        zip(alone.requests.user.tolist(), alone.items[:, 0].tolist(), strict=True)
    )
    assert known.negatives is not None
    assert torch.equal(known.negatives.sort().values, alone.negatives.sort().values)  # type: ignore[union-attr]
    likes = Positives(dataset.events)
    assert known.also_positive is not None
    for row, user in enumerate(users):
        expected = likes.contains(user.expand(len(known.negatives)), known.negatives)
        assert torch.equal(known.also_positive[row], expected)


def test_evaluation_asks_once_for_each_user_with_what_was_known(dataset: Dataset) -> None:
    _, _, test = split_last_out(dataset)
    (batch,) = evaluation_batches(test, history=6)
    requests = batch.requests
    assert requests.user is not None
    for place, row in enumerate(requests.user.tolist()):
        items = dataset.events.items[dataset.events.offsets[row] : dataset.events.offsets[row + 1]].tolist()
        assert batch.targets[place].tolist() == [items[-1]]
        assert requests.history is not None
        assert [item for item in requests.history[place].tolist() if item] == items[:-1][-6:]
        assert batch.filter.exclude is not None
        assert sorted(item for item in batch.filter.exclude[place].tolist() if item) == sorted(items[:-1])
        assert batch.history_size[place] == len(items) - 1
    (with_repeats,) = evaluation_batches(test, history=6, exclude_seen=False)
    assert with_repeats.filter.exclude is None
    assert sum(len(part.requests) for part in evaluation_batches(test, history=6, most=5)) == 5


def test_without_an_order_the_history_is_all_else_that_the_user_likes(dataset: Dataset) -> None:
    batches = PairBatches(dataset, Sampling(history=1_000, ordered=False), batch_size=16, seed=3)
    events, met = dataset.events, 0
    for step in range(batches.num_steps):
        examples = batches.get(0, step)
        requests = examples.requests
        assert requests.user is not None
        assert requests.history is not None
        assert requests.history_time is not None
        assert requests.length is not None
        assert requests.time is not None
        for row in range(len(examples)):
            user, length = int(requests.user[row]), int(requests.length[row])
            own = events.items[events.offsets[user] : events.offsets[user + 1]].tolist()
            own.remove(int(examples.items[row, 0]))
            assert sorted(requests.history[row, :length].tolist()) == sorted(own)
            assert not requests.history[row, length:].any()
            assert int(requests.time[row]) not in requests.history_time[row, :length].tolist()
            met += 1
    assert met == len(events)


def test_of_a_longer_history_without_an_order_some_are_drawn_anew_in_each_epoch(dataset: Dataset) -> None:
    def drawn(epoch: int) -> dict[tuple[int, int], set[int]]:
        """The times of each event's history, by the user and the event's own time."""
        batches, found = PairBatches(dataset, Sampling(history=4, ordered=False), batch_size=50, seed=3), {}
        for step in range(batches.num_steps):
            requests = batches.get(epoch, step).requests
            assert requests.user is not None
            assert requests.history_time is not None
            assert requests.time is not None
            for user, time, times in zip(requests.user, requests.time, requests.history_time, strict=True):
                found[int(user), int(time)] = set(times[times > 0].tolist())
        return found

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert first == again
    assert sum(first[event] != other[event] for event in first) > len(first) // 2
    assert any(max(times, default=0) > time for (_, time), times in first.items())  # also what came later
