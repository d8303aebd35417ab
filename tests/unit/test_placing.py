"""Where the features of a new item lead in a table of rows."""

from __future__ import annotations

import torch
from torch import Tensor

from shortlist.contracts import Interactions
from shortlist.features import FeatureLayout, Features, Ragged
from shortlist.placing import Directions, Placing

ITEMS, WIDTH = 300, 6
LAYOUT = FeatureLayout(categorical=(4,), multi=(5,), numeric=1, vectors=(2,))


def features() -> Features:
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(0, 3, (ITEMS + 1,), generator=draw)
    offsets = torch.cat((torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)))
    tags = torch.randint(4, 9, (int(offsets[-1]),), generator=draw, dtype=torch.int32)
    return Features(
        LAYOUT,
        torch.randint(0, 4, (ITEMS + 1, 1), generator=draw, dtype=torch.int32),
        (Ragged(tags, offsets),),
        torch.randn(ITEMS + 1, 1, generator=draw),
        torch.randn(ITEMS + 1, 2, generator=draw),
    )


def one_by_one(rows: Tensor, known: Features, met: list[int], new: list[int]) -> Tensor:
    """The definition, item by item, in plain arithmetic: values with 4 and 9 as the unknown ones of their fields."""
    assert known.categorical is not None
    assert known.numeric is not None
    assert known.vectors is not None

    def values(item: int) -> list[int]:
        start, stop = known.multi[0].offsets[item : item + 2].tolist()
        found = [int(known.categorical[item, 0]), *known.multi[0].values[start:stop].tolist()]  # type: ignore[index]
        return [value for value in found if value not in (0, 4)]

    target = rows[met].double()
    mean = target.mean(0)
    effects = {}
    for value in range(9):
        those = [row for row, item in enumerate(met) for each in values(item) if each == value]
        effects[value] = (target[those] - mean).sum(0) / (len(those) + 5)

    def by_values(item: int) -> Tensor:
        own = [effects[value] for value in values(item)]
        return sum(own, start=torch.zeros(WIDTH, dtype=torch.float64)) / max(len(own), 1)

    columns = torch.cat((known.numeric, known.vectors), dim=1).double()
    left = torch.stack([target[row] - mean - by_values(item) for row, item in enumerate(met)])
    learnt = columns[met]
    slopes = torch.linalg.inv(learnt.T @ learnt + 10 * torch.eye(3, dtype=torch.float64)) @ learnt.T @ left
    placed = torch.stack([mean + by_values(item) + columns[item] @ slopes for item in new])
    return (placed * target.norm(dim=1).mean() / placed.norm(dim=1, keepdim=True)).float()


def test_a_row_is_the_mean_and_what_its_features_add() -> None:
    known, rows = features(), torch.randn(ITEMS + 1, WIDTH, generator=torch.Generator().manual_seed(1))
    met = torch.arange(1, 250)
    new = torch.arange(250, 300)
    placed = Directions.of(rows, known, met).place(known, new)
    torch.testing.assert_close(placed, one_by_one(rows, known, met.tolist(), new.tolist()), rtol=1e-5, atol=1e-6)


def test_single_numbers_keep_their_size() -> None:
    known = features()
    bias = torch.full((ITEMS + 1, 1), -3.0)
    placed = Directions.of(bias, known, torch.arange(1, 250)).place(known, torch.tensor([260]))
    torch.testing.assert_close(placed, torch.tensor([[-3.0]]), rtol=1e-5, atol=1e-5)


def test_without_any_event_new_items_are_nowhere() -> None:
    known, rows = features(), torch.randn(ITEMS + 1, WIDTH)
    placed = Directions.of(rows, known, torch.zeros(0, dtype=torch.int64)).place(known, torch.tensor([260]))
    assert placed.tolist() == [[0.0] * WIDTH]


def test_what_was_learnt_of_a_table_is_kept_until_its_rows_change() -> None:
    known, rows = features(), torch.randn(ITEMS + 1, WIDTH)
    events = Interactions(torch.tensor([0, 0, 3]), torch.tensor([1, 2, 3], dtype=torch.int32), num_items=ITEMS)
    asked: list[int] = []

    def read() -> Interactions:
        asked.append(1)
        return events

    placing = Placing()
    first = placing.directions("items", rows, known, read)
    assert placing.directions("items", rows, known, read) is first
    assert len(asked) == 1
    assert placing.directions("bias", rows[:, :1], known, read) is not first
    rows[1] += 1
    assert placing.directions("items", rows, known, read) is not first
    assert len(asked) == 3
