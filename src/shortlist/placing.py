"""Items with events, and features of new ones, into where the new ones belong in a table of rows.

It does not know what the rows mean. Where the features lead is learnt once for each table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from shortlist.contracts import AnyFeatures, Features, Interactions

SHRINKAGE = 5.0  # items of a value that weigh as much as the mean of all items
RIDGE = 10.0  # on standardised columns
AT_ONCE = 8192  # rows
KINDS = ("categorical", "multi", "numeric", "vectors")  # that are looked at


@dataclass(frozen=True, slots=True)
class Directions:
    """Where the features of items lead in one table of rows (…, D)."""

    mean: Tensor  # (D,) float64, of all items with events
    values: Tensor  # (V, D) float32, what each categorical or multi-hot value adds to it
    columns: Tensor | None  # (G, D) float64, what each number and each part of a vector adds
    length: Tensor | None  # of the usual row; None: rows are single numbers

    @classmethod
    def of(cls, rows: Tensor, features: Features, met: Tensor) -> Directions:
        """Those of the items ``met`` (m,).

        A value adds the mean of the items that share it, drawn to that of all as by 5 items; numbers and vectors add what
        a ridge regression finds of them in what then is left.
        """
        total, length = rows.new_zeros(rows.shape[1], dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        effects = total.new_zeros(features.layout.num_ids, rows.shape[1])
        counts = total.new_zeros(features.layout.num_ids)
        for target, learnt in _parts(rows, features, met):
            row, value = _pairs(learnt)
            total += target.sum(0)
            length += target.norm(dim=1).sum()
            effects.index_add_(0, value, target[row])
            counts.index_add_(0, value, torch.ones_like(counts[:1]).expand(len(value)))
        many = max(len(met), 1)
        mean = total / many
        effects = (effects - counts[:, None] * mean) / (counts + SHRINKAGE)[:, None]
        usual = None if rows.shape[1] == 1 else length / many if len(met) else torch.ones((), dtype=torch.float64)
        slopes = _slopes(rows, features, met, mean, effects)
        return cls(mean, effects.float(), slopes, usual)

    def place(self, features: AnyFeatures, items: Tensor) -> Tensor:
        """Rows (n, D) for items (n,): the mean, and what their features add to it, at the usual length.

        Means are shorter than what they are means of, and would never come first.
        """
        wanted = features.only(*KINDS).take(items)
        placed = self.mean + _by_values(_pairs(wanted), self.values.double(), len(items))
        columns = _numbers(wanted)
        if self.columns is not None and columns is not None:
            placed = placed + columns @ self.columns
        if self.length is not None:
            placed = placed * (self.length / placed.norm(dim=1, keepdim=True).clamp(min=1e-9))
        return placed.float()


class Placing:
    """The directions of the tables of one network, each learnt when it is first asked for.

    Networks that are grown from one another share it, as they share the rows that it learns from.
    """

    def __init__(self) -> None:
        self._learnt: dict[str, tuple[Tensor, int, Directions]] = {}  # with the rows they come from, as they were

    def directions(self, name: str, rows: Tensor, features: Features, events: Callable[[], Interactions]) -> Directions:
        """Those of the table ``name``, whose ``rows`` (I+1, D) are of all the items that had ``events`` when it was learnt."""
        learnt = self._learnt.get(name)
        if learnt is None or (learnt[0].data_ptr(), learnt[1]) != (rows.data_ptr(), rows._version):
            met = (events().item_counts()[: len(rows)] > 0).nonzero().squeeze(1)
            learnt = self._learnt[name] = rows, rows._version, Directions.of(rows, features, met)
        return learnt[2]


def _slopes(rows: Tensor, features: Features, met: Tensor, mean: Tensor, effects: Tensor) -> Tensor | None:
    """What numbers and vectors add (G, D) to what the values say."""
    width = features.layout.numeric + sum(features.layout.vectors)
    if not width or not len(met):
        return None
    gram, found = mean.new_zeros(width, width), mean.new_zeros(width, len(mean))
    for target, learnt in _parts(rows, features, met):
        columns = _numbers(learnt)
        assert columns is not None
        gram += columns.T @ columns
        found += columns.T @ (target - mean - _by_values(_pairs(learnt), effects, len(target)))
    slopes: Tensor = torch.linalg.solve(gram + RIDGE * torch.eye(width, dtype=gram.dtype), found)
    return slopes


def _parts(rows: Tensor, features: Features, met: Tensor) -> Iterator[tuple[Tensor, Features]]:
    """The rows and the features of some items, a few at a time."""
    for some in torch.split(met, AT_ONCE):
        yield rows.index_select(0, some).double(), features.only(*KINDS).take(some)


def _pairs(features: Features) -> tuple[Tensor, Tensor]:
    """The known values of N rows: which row (P,) has which value (P,), in fused ids."""
    rows: list[Tensor] = [torch.zeros(0, dtype=torch.int64)]
    values: list[Tensor] = [torch.zeros(0, dtype=torch.int64)]
    every = torch.arange(len(features))
    if features.categorical is not None:
        for column in features.categorical.long().T:
            rows.append(every)
            values.append(column)
    for field in features.multi:
        rows.append(torch.repeat_interleave(every, field.offsets.diff()))
        values.append(field.values.long())
    row, value = torch.cat(rows), torch.cat(values)
    is_known = ~torch.isin(value, torch.tensor(features.layout.offsets))  # a field's first value is its unknown one
    return row[is_known], value[is_known]


def _by_values(pairs: tuple[Tensor, Tensor], effects: Tensor, num_rows: int) -> Tensor:
    """The mean effect (N, D) of the values of each row."""
    row, value = pairs
    total = effects.new_zeros(num_rows, effects.shape[1]).index_add_(0, row, effects[value])
    return total / torch.bincount(row, minlength=num_rows).clamp(min=1)[:, None]


def _numbers(features: Features) -> Tensor | None:
    parts = [part.double() for part in (features.numeric, features.vectors) if part is not None]
    return torch.cat(parts, dim=1) if parts else None
