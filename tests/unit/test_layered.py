"""Features in layers are what the same rows in one piece are."""

from __future__ import annotations

import pytest
import torch

from shortlist.features import FeatureLayout, Features, Ragged, stacked
from shortlist.layered import AnyFeatures, LayeredFeatures, with_rows

LAYOUT = FeatureLayout(categorical=(5, 3), multi=(7,), numeric=2, vectors=(3,), images=(4,))


def some(count: int, seed: int) -> Features:
    """Rows of all kinds, with 0 to 3 values of the multi-hot field."""
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 4, (count,), generator=draw)
    offsets = torch.cat((torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)))
    values = torch.randint(8, 15, (int(offsets[-1]),), generator=draw, dtype=torch.int32)
    return Features(
        LAYOUT,
        torch.randint(0, 5, (count, 2), generator=draw, dtype=torch.int32),
        (Ragged(values, offsets),),
        torch.randn(count, 2, generator=draw),
        torch.randn(count, 3, generator=draw),
        (torch.randint(0, 256, (count, 3, 4, 4), generator=draw, dtype=torch.uint8),),
    )


def same(found: AnyFeatures, wanted: Features) -> bool:
    tensors, others = found.whole().tensors(), wanted.tensors()
    return tensors.keys() == others.keys() and all(torch.equal(tensors[name], others[name]) for name in tensors)


@pytest.mark.parametrize("tidied_from", [10_000, 20])
def test_many_later_rows_are_what_a_copy_with_them_is(monkeypatch: pytest.MonkeyPatch, tidied_from: int) -> None:
    monkeypatch.setattr("shortlist.layered.TIDIED_FROM", tidied_from)
    draw = torch.Generator().manual_seed(0)
    wanted = base = some(30, seed=0)
    layered: AnyFeatures = base
    versions: list[tuple[AnyFeatures, Features]] = []
    for step in range(60):
        known = len(wanted)
        new = int(torch.randint(0, 3, (1,), generator=draw))
        changed = torch.randperm(known - 1, generator=draw)[: int(torch.randint(1, 4, (1,), generator=draw))] + 1
        items = torch.cat((changed, torch.arange(known, known + new)))
        items = items[torch.randperm(len(items), generator=draw)]
        rows = some(len(items), seed=step + 1)
        layered = with_rows(layered, items, rows)
        place = torch.arange(known + new)
        place[items] = known + torch.arange(len(items))
        wanted = stacked(wanted, rows).take(place)
        versions.append((layered, wanted))
    for found, copy in versions:  # those of before are as they were
        assert len(found) == len(copy)
        assert same(found, copy)
        asked = torch.randint(0, len(copy), (17,), generator=draw)
        assert same(found.take(asked), copy.take(asked))
    assert isinstance(layered, LayeredFeatures)
    assert layered.base is base
    assert len(layered.tail) < 10 * tidied_from


def test_rows_that_others_replaced_are_dropped_where_they_are_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shortlist.layered.TIDIED_FROM", 20)
    layered: AnyFeatures = some(5, seed=0)
    for step in range(100):
        layered = with_rows(layered, torch.tensor([2]), some(1, seed=step))
    assert isinstance(layered, LayeredFeatures)
    assert len(layered.tail) <= 20
    assert same(layered.take(torch.tensor([2])), some(1, seed=99))


def test_kinds_can_be_left_out_and_tensors_changed() -> None:
    layered = with_rows(some(4, seed=0), torch.tensor([4, 1]), some(2, seed=1))
    numbers = layered.only("numeric").take(torch.arange(5))
    assert numbers.categorical is None
    assert not numbers.multi
    assert torch.equal(numbers.numeric, layered.whole().numeric)  # type: ignore[arg-type]
    exact = layered.map(lambda part: part.double() if part.is_floating_point() else part)
    assert torch.equal(exact.whole().numeric, layered.whole().numeric.double())  # type: ignore[union-attr]
    later = with_rows(exact, torch.tensor([5]), some(1, seed=2))
    assert torch.equal(later.take(torch.arange(5)).numeric, exact.whole().numeric)  # type: ignore[arg-type]
