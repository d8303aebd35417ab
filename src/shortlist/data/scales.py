"""Columns of numbers to standardised ones, by what was fitted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

from shortlist.data.columns import Columns
from shortlist.errors import DataError
from shortlist.schema import Feature


@dataclass(frozen=True, slots=True)
class Scale:
    """How a numeric column is standardised. With ``flag`` a further column says 1 where the value is missing.

    With ``log`` it is log(1 + x) of numbers above 0 that is, others counting as 0.
    """

    mean: float
    std: float
    flag: bool
    log: bool = False

    @classmethod
    def fit(cls, columns: Columns, feature: Feature) -> Scale:
        """Learn from a column of finite numbers; others are a :class:`DataError`."""
        log, numbers = feature.transform == "log", finite(columns.numbers(feature))
        known = (_logarithm(numbers) if log else numbers).drop_nulls().to_numpy(writable=True)
        mean, std = 0.0, 0.0
        if len(known):
            std, mean = (float(part) for part in torch.std_mean(torch.from_numpy(known), correction=0))
        return cls(mean, std if std > 0 and math.isfinite(std) else 1.0, flag=bool(numbers.null_count()), log=log)

    def standardised(self, numbers: pl.Series) -> tuple[Tensor, ...]:
        """The numbers (N,), and with ``flag`` which are missing (N,)."""
        scaled = (_logarithm(numbers) if self.log else numbers).fill_null(self.mean).to_numpy(writable=True)
        scaled -= self.mean
        scaled /= self.std
        values = torch.from_numpy(scaled).float()
        if not self.flag:
            return (values,)
        return values, torch.from_numpy(numbers.is_null().cast(pl.Float32).to_numpy(writable=True))


def finite(numbers: pl.Series) -> pl.Series:
    """The numbers, of which NaN and infinite ones are a :class:`DataError` that names the first row."""
    if not numbers.drop_nulls().is_finite().all():
        row = (~numbers.is_finite()).fill_null(value=False).arg_max()
        assert row is not None
        raise DataError(
            f"Feature {numbers.name!r} is {numbers[row]} in row {row + 1}. Numbers must be finite; leave a value empty where it is missing."
        )
    return numbers


def _logarithm(numbers: pl.Series) -> pl.Series:
    return numbers.clip(lower_bound=0).log1p()
