"""Encoded feature columns: what a network sees of a user, an item or a context.

It does not know where the values came from; ``data.encode`` makes it from frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class FeatureLayout:
    """The sizes of a :class:`Features` table: all that a network must know to build its embeddings.

    ``categorical`` and ``multi`` give each field's number of values, its unknown value 0 included. All fields share
    one id space: field ``f``'s value ``v`` has the fused id ``offsets[f] + v``, categorical fields first. ``vectors``
    gives the width of each column of vectors, which stand side by side, ``images`` the side of each column of thumbnails.
    """

    categorical: tuple[int, ...] = ()
    multi: tuple[int, ...] = ()
    numeric: int = 0
    vectors: tuple[int, ...] = ()
    images: tuple[int, ...] = ()

    @property
    def num_ids(self) -> int:
        """Rows that one embedding table for all categorical and multi-hot values needs."""
        return sum(self.categorical) + sum(self.multi)

    @property
    def offsets(self) -> tuple[int, ...]:
        """Where each field's ids begin in the fused space: categorical fields first, then multi-hot ones."""
        sizes = self.categorical + self.multi
        return tuple(sum(sizes[:field]) for field in range(len(sizes)))

    @property
    def num_fields(self) -> int:
        """Fields with ids (categorical and multi-hot)."""
        return len(self.categorical) + len(self.multi)

    @property
    def num_dense(self) -> int:
        """Columns of vectors and of thumbnails."""
        return len(self.vectors) + len(self.images)


@dataclass(frozen=True, slots=True)
class Ragged:
    """Rows of unequal length: row ``i`` is ``values[offsets[i]:offsets[i + 1]]``."""

    values: Tensor  # (M,)
    offsets: Tensor  # (N+1,)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, rows: Tensor) -> Ragged:
        """The given rows (N',), in that order."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts  # not those of all rows: there may be a million
        return Ragged(self.values[spans(starts, lengths)], running_total(lengths))


@dataclass(frozen=True, slots=True)
class Features:
    """N encoded rows. Absent kinds are None (``multi``: an empty tuple)."""

    layout: FeatureLayout
    categorical: Tensor | None = None  # (N, F) int32, fused ids
    multi: tuple[Ragged, ...] = ()  # one per multi-hot field, fused ids
    numeric: Tensor | None = None  # (N, G) float32, standardised; a missing value is 0
    vectors: Tensor | None = None  # (N, V) float32, standardised, column beside column; a missing one is 0
    images: tuple[Tensor, ...] = ()  # one (N, 3, h, h) uint8 per column; a missing one is black

    def __len__(self) -> int:
        for table in (self.categorical, self.numeric, *self.multi, self.vectors, *self.images):
            if table is not None:
                return len(table)
        return 0

    @classmethod
    def unknown(cls, layout: FeatureLayout, num: int, *, device: torch.device | None = None) -> Features:
        """``num`` rows of which nothing is known."""
        fields = torch.tensor(layout.offsets[: len(layout.categorical)], dtype=torch.int32, device=device)
        empty = Ragged(
            torch.zeros(0, dtype=torch.int32, device=device), torch.zeros(num + 1, dtype=torch.int64, device=device)
        )
        return cls(
            layout,
            fields.expand(num, -1) if layout.categorical else None,
            (empty,) * len(layout.multi),
            torch.zeros(num, layout.numeric, device=device) if layout.numeric else None,
            torch.zeros(num, sum(layout.vectors), device=device) if layout.vectors else None,
            tuple(torch.zeros(num, 3, side, side, dtype=torch.uint8, device=device) for side in layout.images),
        )

    def map(self, change: Callable[[Tensor], Tensor]) -> Features:
        """The same with ``change`` made to every tensor."""
        changed: Features = mapped(self, change)
        return changed

    def take(self, rows: Tensor) -> Features:
        """The given rows (N',), in that order."""
        return Features(
            self.layout,
            None if self.categorical is None else self.categorical[rows],
            tuple(field.take(rows) for field in self.multi),
            None if self.numeric is None else self.numeric[rows],
            None if self.vectors is None else self.vectors[rows],
            tuple(column[rows] for column in self.images),
        )

    def only(self, *kinds: str) -> Features:
        """The same without the kinds that are not named, such as "numeric": they are absent."""
        left_out = {"categorical": None, "multi": (), "numeric": None, "vectors": None, "images": ()}
        changed: dict[str, Any] = {kind: nothing for kind, nothing in left_out.items() if kind not in kinds}
        return replace(self, **changed)

    def whole(self) -> Features:
        """Itself: all rows of each kind lie in one tensor."""
        return self

    def tensors(self) -> dict[str, Tensor]:
        """All that it holds, by name; :meth:`of_tensors` is the inverse."""
        tables = {"categorical": self.categorical, "numeric": self.numeric, "vectors": self.vectors}
        found = {name: table for name, table in tables.items() if table is not None}
        for number, ragged in enumerate(self.multi):
            found |= {f"multi{number}_values": ragged.values, f"multi{number}_offsets": ragged.offsets}
        return found | {f"image{number}": table for number, table in enumerate(self.images)}

    @classmethod
    def of_tensors(cls, layout: FeatureLayout, tensors: Mapping[str, Tensor]) -> Features:
        """The features that :meth:`tensors` described."""
        multi = tuple(
            Ragged(tensors[f"multi{number}_values"], tensors[f"multi{number}_offsets"])
            for number in range(len(layout.multi))
        )
        images = tuple(tensors[f"image{number}"] for number in range(len(layout.images)))
        categorical, numeric, vectors = (tensors.get(name) for name in ("categorical", "numeric", "vectors"))
        return cls(layout, categorical, multi, numeric, vectors, images)


def stacked(first: Features, second: Features) -> Features:
    """The rows of ``first`` and then those of ``second``."""

    def column(name: str) -> Tensor | None:
        parts = [getattr(features, name) for features in (first, second)]
        return None if any(part is None for part in parts) else torch.cat(parts)

    multi = tuple(stacked_ragged(upper, lower) for upper, lower in zip(first.multi, second.multi, strict=True))
    images = tuple(torch.cat(pair) for pair in zip(first.images, second.images, strict=True))
    return Features(first.layout, column("categorical"), multi, column("numeric"), column("vectors"), images)


def stacked_ragged(first: Ragged, second: Ragged) -> Ragged:
    """The rows of ``first`` and then those of ``second``."""
    offsets = torch.cat((first.offsets, second.offsets[1:] + first.offsets[-1]))
    return Ragged(torch.cat((first.values, second.values)), offsets)


def mapped(part: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A dataclass or a tuple with ``change`` made to every tensor in it, however deep."""
    if isinstance(part, Tensor):
        return change(part)
    if isinstance(part, tuple):
        return tuple(mapped(each, change) for each in part)
    if is_dataclass(part) and not isinstance(part, type):
        return replace(part, **{each.name: mapped(getattr(part, each.name), change) for each in fields(part)})
    return part


def running_total(lengths: Tensor) -> Tensor:
    """Offsets (N+1,) of rows with the given lengths (N,).

    >>> running_total(torch.tensor([2, 0, 1])).tolist()
    [0, 2, 2, 3]
    """
    offsets = torch.zeros(len(lengths) + 1, dtype=torch.int64, device=lengths.device)
    torch.cumsum(lengths, 0, out=offsets[1:])
    return offsets


def spans(starts: Tensor, lengths: Tensor) -> Tensor:
    """The positions start, start+1, …, start+length-1 of every span, one after the other.

    >>> spans(torch.tensor([5, 1]), torch.tensor([2, 3])).tolist()
    [5, 6, 1, 2, 3]
    """
    ends = torch.cumsum(lengths, 0)
    total = int(ends[-1]) if len(ends) else 0
    shift = torch.repeat_interleave(starts - (ends - lengths), lengths, output_size=total)
    return torch.arange(total, device=starts.device) + shift


def blocks(num: int, size: int) -> Iterator[Tensor]:
    """The positions 0 … ``num`` - 1 in blocks of at most ``size``.

    >>> [block.tolist() for block in blocks(5, 2)]
    [[0, 1], [2, 3], [4]]
    """
    for start in range(0, num, size):
        yield torch.arange(start, min(start + size, num))
