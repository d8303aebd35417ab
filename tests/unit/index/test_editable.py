"""Building anew behind the back of readers and writers."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from shortlist.errors import ShortlistWarning
from shortlist.index import IVFPQ, EditableIndex, Exact
from shortlist.index.delta import Among, overlay
from shortlist.index.table import Table


class Scan:
    """A library that scores everything."""

    def __init__(self, vectors: Tensor) -> None:
        self.vectors = vectors

    def nearest(self, queries: Tensor, k: int, *, spare: int, among: Among | None) -> tuple[Tensor, Tensor]:
        scores = queries @ self.vectors.T
        if among is not None:
            scores[:, ~among.rows] = -torch.inf
        return scores.topk(k, dim=1)

    def effort(self, k: int, *, spare: int, share: float) -> float:
        return 0.0

    def arrays(self) -> dict[str, Tensor]:
        return {}


@dataclass
class Slow:
    """Settings whose second build and those after it wait until they may go on, or fail."""

    may_go_on: threading.Event = field(default_factory=threading.Event)
    has_begun: threading.Event = field(default_factory=threading.Event)
    fails: bool = False
    builds: int = 0

    def build(self, items: Tensor, vectors: Tensor, *, queries: Tensor | None = None) -> EditableIndex:
        self.builds += 1
        if self.builds > 1:
            self.has_begun.set()
            assert self.may_go_on.wait(20)
            if self.fails:
                raise MemoryError("no room")
        return EditableIndex(self, overlay(Table.of(items, vectors), Scan(vectors)))


def line(low: int, high: int) -> tuple[Tensor, Tensor]:
    """Items low to high - 1; item i has the vector [i]."""
    items = torch.arange(low, high)
    return items, items.float()[:, None]


UP = torch.ones(1, 1)


def wait_for(index: EditableIndex) -> None:
    assert index._compaction is not None
    index._compaction.join(20)
    assert not index._compaction.is_alive()


def test_many_edits_build_anew_while_readers_and_writers_go_on() -> None:
    settings = Slow()
    index = settings.build(*line(1, 101))
    index.add(*line(101, 2_300))
    assert settings.has_begun.wait(20)
    # The build waits; meanwhile the index is read and edited.
    assert index.search(UP, 2).items.tolist() == [[2_299, 2_298]]
    index.remove(torch.tensor([2_299, 5]))  # one that was added, one that was there
    index.replace(torch.tensor([2_298, 7]), torch.tensor([[0.5], [9_000.0]]))
    index.add(torch.tensor([2_299, 9_999]), torch.tensor([[8_000.0], [7_000.0]]))  # one comes back
    index.remove(torch.tensor([9_999]))  # one comes and goes
    before = index.search(UP, 2_298)
    assert before.items[0, :3].tolist() == [7, 2_299, 2_297]
    settings.may_go_on.set()
    wait_for(index)
    after = index.search(UP, 2_298)
    assert torch.equal(before.items, after.items)
    assert torch.equal(before.scores, after.scores)
    assert len(index) == 2_298
    assert index.arrays()["delta_items"].sort().values.tolist() == [7, 2_298, 2_299]
    assert settings.builds == 2


def test_edits_that_come_during_a_build_may_be_enough_for_another() -> None:
    settings = Slow()
    index = settings.build(*line(1, 101))
    index.add(*line(101, 2_300))
    assert settings.has_begun.wait(20)
    index.add(*line(2_300, 4_500))
    settings.may_go_on.set()
    wait_for(index)
    assert settings.builds == 3
    assert len(index.arrays()["delta_items"]) == 0
    assert len(index) == 4_499


def test_a_build_that_fails_is_told_at_the_next_edit_and_changes_no_answer() -> None:
    settings = Slow(fails=True)
    settings.may_go_on.set()
    index = settings.build(*line(1, 101))
    index.add(*line(101, 2_300))
    wait_for(index)
    assert index.search(UP, 1).items.tolist() == [[2_299]]
    settings.fails = False
    with pytest.warns(ShortlistWarning, match="could not be built anew.*no room.*compact"):
        index.remove(torch.tensor([2_299]))
    wait_for(index)
    assert index.search(UP, 1).items.tolist() == [[2_298]]
    assert len(index.arrays()["delta_items"]) == 0


def test_compact_waits_for_the_build_that_runs() -> None:
    settings = Slow()
    index = settings.build(*line(1, 101))
    index.add(*line(101, 2_300))
    assert settings.has_begun.wait(20)
    asked = threading.Thread(target=index.compact)
    asked.start()
    assert settings.builds == 2
    settings.may_go_on.set()
    asked.join(20)
    assert settings.builds == 3
    assert len(index) == 2_299


def test_an_exact_index_catches_up_too() -> None:
    index = Exact().build(*line(1, 101))
    index.remove(torch.arange(1, 51))
    index.compact()
    assert len(index.arrays()["items"]) == 50
    assert index.search(UP, 60).valid.sum() == 50


def test_edits_in_a_storm_end_in_the_same_items_as_one_by_one() -> None:
    """Writers and readers beside real builds: nothing is lost, and no answer holds what was removed before it was asked."""
    vectors = torch.randn(9_000, 8, generator=torch.Generator().manual_seed(0))
    index = IVFPQ(nprobe=8, k_factor=4).build(torch.arange(1, 3_001), vectors[:3_000])
    stop, wrong = threading.Event(), []
    removed_below = 1

    def read() -> None:
        while not stop.is_set():
            low = removed_below
            found = index.search(vectors[:4], 20)
            if int(found.items.amin()) < low:
                wrong.append(found.items)

    reader = threading.Thread(target=read)
    reader.start()
    for start in range(3_000, 9_000, 500):
        index.add(torch.arange(start + 1, start + 501), vectors[start : start + 500])
        index.remove(torch.arange(start - 2_999, start - 2_499))
        removed_below = start - 2_499
    stop.set()
    reader.join()
    wait_for(index)
    assert not wrong
    items, kept = index._state.alive()
    assert items.sort().values.tolist() == list(range(6_001, 9_001))
    assert torch.equal(kept[items.argsort()], vectors[6_000:])
    assert len(index.arrays()["delta_items"]) < 2_500


def test_copies_made_while_an_index_is_built_anew_catch_up_with_their_own_edits() -> None:
    settings = Slow()
    index = settings.build(*line(1, 101))
    index.add(*line(101, 2_300))
    assert settings.has_begun.wait(20)
    index.remove(torch.tensor([7]))
    first = index.copy()
    first.add(*line(5_000, 5_001))
    second = first.copy()
    second.remove(torch.tensor([5_000, 8]))
    second.replace(torch.tensor([9]), torch.tensor([[9_000.0]]))
    del index  # only the newest ones serve
    settings.may_go_on.set()
    wait_for(second)
    assert settings.builds == 2
    for built, best, missing in ((first, 5_000, {7}), (second, 9, {7, 8})):
        assert len(built.arrays()["delta_items"]) <= 1
        assert built.search(UP, 1).items.tolist() == [[best]]
        items, vectors = built.alive()
        assert set(range(1, 2_300)) - set(items.tolist()) == missing
        assert vectors[items == 10].tolist() == [[10.0]]


def test_copies_of_an_index_that_is_built_anew_do_not_each_begin_another_build() -> None:
    settings = Slow()
    index = settings.build(*line(1, 101))
    index.add(*line(101, 2_300))
    assert settings.has_begun.wait(20)
    for item in range(3_000, 3_020):
        index = index.copy()
        index.add(*line(item, item + 1))
    settings.may_go_on.set()
    wait_for(index)
    assert settings.builds == 2
    assert len(index) == 2_319
    assert len(index.arrays()["delta_items"]) == 20
    index.copy().remove(torch.tensor([3_000]))
    assert settings.builds == 2


def test_a_build_that_fails_leaves_copies_as_they_were_and_is_told_there_too() -> None:
    settings = Slow(fails=True)
    index = settings.build(*line(1, 101))
    index.add(*line(101, 2_300))
    assert settings.has_begun.wait(20)
    other = index.copy()
    other.add(*line(4_000, 4_001))
    settings.may_go_on.set()
    wait_for(other)
    assert other.search(UP, 1).items.tolist() == [[4_000]]
    settings.fails = False
    later = other.copy()
    with pytest.warns(ShortlistWarning, match="could not be built anew"):
        later.remove(torch.tensor([4_000]))
    wait_for(later)
    assert later.search(UP, 1).items.tolist() == [[2_299]]
    assert len(later.arrays()["delta_items"]) == 0


def test_an_edit_of_one_item_reads_and_copies_no_vectors_but_its_own() -> None:
    index = Slow().build(*line(1, 50_001))
    before = index._state.main
    index.remove(torch.tensor([3]))
    index.add(*line(60_000, 60_001))
    index.replace(torch.tensor([5]), torch.tensor([[-1.0]]))
    after = index._state.main
    for name in ("items", "vectors", "columns"):
        assert getattr(after, name) is getattr(before, name)
    assert after.places is before.places
    assert index._state.delta.items.tolist() == [60_000, 5]
    assert len(index._state.delta.columns) < 100
    assert index._state.delta.places.table is None
    assert index.holds(torch.tensor([3, 4, 5, 60_000, 60_001, 50_000])).tolist() == [
        False,
        True,
        True,
        True,
        False,
        True,
    ]
    assert index.search(UP, 2).items.tolist() == [[60_000, 50_000]]
