"""Training sequences: every event predicted once from the ones before it, in batches of like length and equal size."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import polars as pl
import pytest
import torch

from shortlist.contracts import Interactions, Sampling
from shortlist.data import Dataset, read_dataset, sequences, split_last_out
from shortlist.data.sample import Positives
from shortlist.data.sequences import SequenceBatches
from shortlist.features import running_total
from shortlist.models import SASRec


def _dataset(lengths: list[int], **columns: list[object]) -> Dataset:
    """Sequences of the given lengths; event e of user u is of item 100 * u + e, so that all are told apart."""
    rows = [(user, 100 * user + event) for user, length in enumerate(lengths, start=1) for event in range(length)]
    frame = pl.DataFrame({"user_id": [user for user, _ in rows], "item_id": [item for _, item in rows], **columns})
    return read_dataset(frame)


def _met(batches: SequenceBatches, dataset: Dataset, epoch: int = 0) -> Counter[tuple[int, tuple[int, ...]]]:
    """How often each (item, items before it in its window) is predicted in an epoch, in outside ids."""
    found: Counter[tuple[int, tuple[int, ...]]] = Counter()
    ids = dataset.encoders.items
    for number in range(batches.num_steps):
        examples = batches.get(epoch, number)
        history = examples.requests.history
        assert history is not None
        for row, step in examples.items.nonzero().tolist():
            target = int(ids.decode(examples.items[row, step, None].numpy())[0])
            before = tuple(ids.decode(history[row, : step + 1].numpy()).tolist())
            assert 0 not in history[row, : step + 1].tolist()
            found[target, before] += 1
    return found


@pytest.mark.parametrize("windows", ["all", "last"])
def test_each_event_but_the_first_is_predicted_once_from_those_before_it(windows: str) -> None:
    dataset = _dataset([1, 2, 5, 7])
    batches = SequenceBatches(dataset, Sampling("sequences", history=10, windows=windows), batch_size=2, seed=0)  # type: ignore[arg-type]
    wanted = Counter(
        (100 * user + event, tuple(range(100 * user, 100 * user + event)))
        for user, length in enumerate([1, 2, 5, 7], start=1)
        for event in range(1, length)
    )
    assert _met(batches, dataset) == wanted
    assert batches.num_examples == len(wanted)


def test_of_a_long_sequence_the_last_window_alone_is_learnt_from() -> None:
    dataset = _dataset([9])
    batches = SequenceBatches(dataset, Sampling("sequences", history=4, windows="last"), batch_size=1, seed=0)
    wanted = Counter((100 + event, tuple(range(104, 100 + event))) for event in range(5, 9))
    assert _met(batches, dataset) == wanted


def test_all_windows_cover_a_long_sequence_once_and_are_cut_elsewhere_in_each_epoch() -> None:
    dataset = _dataset([23])
    batches = SequenceBatches(dataset, Sampling("sequences", history=5), batch_size=1, seed=1)
    cuts = set()
    for epoch in range(4):
        met = _met(batches, dataset, epoch)
        assert sorted(item for item, _ in met.elements()) == list(range(101, 123))
        for item, before in met:
            assert before == tuple(range(item - len(before), item))
            assert 1 <= len(before) <= 5
        cuts.add(frozenset(met))
    assert len(cuts) > 1


def test_batches_have_equally_many_events_of_sequences_of_one_length_and_none_is_empty() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(2, 60, (300,), generator=generator).tolist()
    dataset = _dataset(lengths)
    batches = SequenceBatches(dataset, Sampling("sequences", history=100), batch_size=16, seed=0)
    targets, padded = [], 0
    for step in range(batches.num_steps):
        items = batches.get(0, step).items
        targets.append(int((items > 0).sum()))
        padded += items.numel()
    assert batches.num_steps == 19  # 300 / 16
    mean = sum(targets) / len(targets)
    assert all(0.8 * mean < size < 1.2 * mean for size in targets)
    assert padded < 1.15 * sum(targets)


def test_no_batch_is_empty_where_one_sequence_is_longer_than_several_batches() -> None:
    dataset = _dataset([3, 90, 3, 2, 4])
    batches = SequenceBatches(dataset, Sampling("sequences", history=100), batch_size=1, seed=0)
    assert batches.num_steps == 5
    assert all(len(batches.get(0, step)) == 1 for step in range(5))


def test_only_a_parts_own_events_are_predicted_and_the_known_ones_are_context(dataset: Dataset) -> None:
    _, valid, _ = split_last_out(dataset)
    batches = SequenceBatches(valid, Sampling("sequences", history=4), batch_size=100, seed=0)
    examples = batches.get(0, 0)
    assert batches.num_examples == int((valid.own()).sum())
    assert examples.requests.history is not None
    assert examples.requests.user is not None
    assert (examples.items > 0).sum(1).tolist() == [1] * len(examples)
    events = valid.events
    for row, user in enumerate(examples.requests.user.tolist()):
        mine = events.items[events.offsets[user] : events.offsets[user + 1]].tolist()
        assert examples.items[row].max().item() == mine[-1]
        shown = examples.requests.history[row]
        assert shown[shown > 0].tolist() == mine[-5:-1]


def test_where_time_is_strict_an_event_is_predicted_from_an_earlier_time() -> None:
    times = [10, 20, 20, 20, 30]
    events = Interactions(
        running_total(torch.tensor([0, 5])), torch.arange(1, 6, dtype=torch.int32), 5, torch.tensor(times), strict=True
    )
    base = _dataset([5])
    dataset = replace(base, events=events, target_start=events.offsets[:-1])
    examples = SequenceBatches(dataset, Sampling("sequences", history=9), batch_size=1, seed=0).get(0, 0)
    assert examples.step is not None
    assert examples.items.tolist() == [[2, 3, 4, 5]]
    assert examples.step.tolist() == [[0, 0, 0, 3]]  # the three of time 20 from the one of time 10, the last from them
    assert examples.requests.history_time is not None
    assert examples.requests.history_time.tolist() == [times[:4]]


def test_the_same_step_gives_the_same_examples_and_another_epoch_others(dataset: Dataset) -> None:
    def batches() -> SequenceBatches:
        sampling = Sampling("sequences", history=5, shared_negatives=4, popularity_power=0.5)
        return SequenceBatches(dataset, sampling, batch_size=4, seed=3)

    first, again, other = batches().get(2, 1), batches().get(2, 1), batches().get(3, 1)
    assert torch.equal(first.items, again.items)
    assert first.negatives is not None
    assert again.negatives is not None
    assert torch.equal(first.negatives, again.negatives)
    assert first.items.shape != other.items.shape or not torch.equal(first.items, other.items)


def test_sequences_in_order_come_near_their_place_and_all_of_them_come() -> None:
    dataset = _dataset([4] * 600)
    batches = SequenceBatches(dataset, Sampling("sequences", history=5, shuffled=False), batch_size=2, seed=0)
    users: list[int] = []
    for step in range(batches.num_steps):
        user = batches.get(0, step).requests.user
        assert user is not None
        users += user[user > 0].tolist()
    assert sorted(users) == list(range(1, 601))
    assert users != sorted(users)
    assert max(abs(user - place) for place, user in enumerate(users, start=1)) <= 32  # 16 batches of 2


def test_sequences_in_order_go_by_the_time_of_their_last_event() -> None:
    frame = pl.DataFrame(
        {"user_id": [user for user in range(100) for _ in range(3)], "item_id": list(range(300)),
         "timestamp": [1000 * (99 - user) + event for user in range(100) for event in range(3)]}
    )  # fmt: skip
    dataset = read_dataset(frame)
    batches = SequenceBatches(dataset, Sampling("sequences", history=5, shuffled=False), batch_size=1, seed=0)
    first, last = (batches.get(0, step).requests.user for step in (0, batches.num_steps - 1))
    assert first is not None
    assert last is not None
    assert first.max() > 80
    assert last.max() < 20


def test_own_negatives_are_never_the_users_positives_unless_the_loss_wants_them() -> None:
    dataset = _dataset([5, 4, 6, 7, 8])
    positives = Positives(dataset.events)
    for avoid in (True, False):
        sampling = Sampling("sequences", history=20, negatives=16, avoid_positives=avoid)
        examples = SequenceBatches(dataset, sampling, batch_size=100, seed=0).get(0, 0)
        assert examples.negatives is not None
        assert examples.requests.user is not None
        assert examples.negatives.shape == (*examples.items.shape, 16)
        rows = examples.requests.user[:, None, None].expand(examples.negatives.shape)
        hits = positives.contains(rows, examples.negatives)
        assert bool(hits.any()) != avoid


def test_a_shared_sample_holds_the_targets_once_and_says_where(dataset: Dataset) -> None:
    sampling = Sampling("sequences", history=20, shared_negatives=3)
    examples = SequenceBatches(dataset, sampling, batch_size=4, seed=0).get(0, 0)
    assert examples.negatives is not None
    assert examples.target_column is not None
    assert len(examples.negatives.unique()) == len(examples.negatives)
    wanted = examples.items > 0
    assert torch.equal(examples.negatives[examples.target_column[wanted]], examples.items[wanted])


def test_batches_of_mixed_lengths_hold_equally_many_sequences_in_any_order() -> None:
    draw = torch.Generator().manual_seed(0)
    dataset = _dataset(torch.randint(2, 40, (300,), generator=draw).tolist())
    spreads, sizes = dict[bool, float](), list[int]()
    for mixed in (False, True):
        sampling = Sampling("sequences", history=40, mixed_lengths=mixed, windows="last")
        batches = SequenceBatches(dataset, sampling, batch_size=30, seed=0)
        found = [batches.get(0, step).requests.length for step in range(batches.num_steps)]
        found = [each[each > 0] for each in found if each is not None]
        spreads[mixed] = sum(float(each.float().std()) for each in found) / len(found)
        sizes = [len(each) for each in found]
        assert sum(sizes) == 300
    assert max(sizes) - min(sizes) <= 1
    assert spreads[True] > 3 * spreads[False]


def test_large_batches_fall_into_groups_whose_targets_are_negatives_of_each_other(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequences, "TARGETS_A_GROUP", 30)
    sampling = Sampling("sequences", history=20, shared_negatives=3)
    examples = SequenceBatches(dataset, sampling, batch_size=12, seed=0).get(0, 0)
    assert examples.negatives is not None
    assert examples.target_column is not None
    assert examples.pools is not None
    groups = list(examples.pools)
    assert len(groups) > 1
    common = examples.negatives[: examples.pools.own[0]]
    for rows, own in groups:
        met = torch.cat((common, examples.negatives[own]))
        assert len(met.unique()) == len(met)
        items = examples.items[rows]
        wanted = items > 0
        assert torch.equal(met[examples.target_column[rows][wanted]], items[wanted])
        assert set(examples.negatives[own].tolist()) == set(items[wanted].tolist()) - set(common.tolist())


def test_the_chance_to_be_in_a_shared_sample_is_what_it_is(dataset: Dataset) -> None:
    sampling = Sampling("sequences", history=20, shared_negatives=6, in_batch=False, popularity_power=0.75)
    batches = SequenceBatches(dataset, sampling, batch_size=100, seed=0)
    drawn, chance = torch.zeros(dataset.num_items + 1), torch.zeros(dataset.num_items + 1)
    for epoch in range(3000):
        examples = batches.get(epoch, 0)
        assert examples.negatives is not None
        assert examples.negatives_log_prob is not None
        assert examples.target_column is None
        drawn[examples.negatives] += 1
        chance[examples.negatives] = examples.negatives_log_prob.exp()
    torch.testing.assert_close(drawn[1:] / 3000, chance[1:], atol=0.04, rtol=0)


@pytest.mark.parametrize("loss", ["bce", "softmax", "sampled_softmax"])
def test_where_whole_windows_have_one_time_what_can_be_predicted_is_and_nothing_breaks(loss: str) -> None:
    base = _dataset([120])
    times = torch.arange(3).repeat_interleave(40)
    events = replace(base.events, times=times, strict=True)
    dataset = replace(base, events=events)
    settings = SASRec(embedding_dim=4, history=10, loss=loss, negatives=2)  # type: ignore[arg-type]
    batches = SequenceBatches(dataset, settings.sampling, batch_size=1, seed=0)
    network = settings.build(dataset.catalogue())
    found = 0
    for step in range(batches.num_steps):
        examples = batches.get(0, step)
        found += int((examples.items > 0).sum())
        assert torch.isfinite(network.loss(examples))  # type: ignore[operator]
    assert found > 0
