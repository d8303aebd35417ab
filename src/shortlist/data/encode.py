"""Feature columns of a frame to :class:`Features`, by encoders that are fitted once and kept with the model."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from shortlist.contracts import FeatureLayout, Features, Ragged
from shortlist.data.categories import Categories, Hashed, Known, Quantiles, categories_from_dict
from shortlist.errors import DataError
from shortlist.features import running_total
from shortlist.schema import Feature
from shortlist.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Scale:
    """How a numeric column is standardised. With ``flag`` a further column says 1 where the value is missing.

    With ``log`` it is log(1 + x) of numbers above 0 that is, others counting as 0.
    """

    mean: float
    std: float
    flag: bool
    log: bool = False


@dataclass(frozen=True, slots=True)
class FeatureEncoder:
    """What was learnt from the columns: the values of each categorical and multi-hot one, the scale of each numeric one.

    ``categories`` and ``scales`` follow the order of ``features``, kind by kind. Values are compared as text, so that 3 in
    a file and "3" in a request are the same.

    >>> frame = pl.DataFrame({"brand": ["b", "a", None], "price": [1.0, 3.0, None]})
    >>> encoder = FeatureEncoder.fit(frame, (Feature("brand", "categorical", "item"), Feature("price", "numeric", "item")))
    >>> encoder.layout
    FeatureLayout(categorical=(3,), multi=(), numeric=2)
    >>> encoded = encoder.encode(frame)
    >>> encoded.categorical.tolist(), encoded.numeric.tolist()
    ([[2], [1], [0]], [[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    """

    features: tuple[Feature, ...]
    categories: tuple[Categories, ...]  # of fields with one value a row, then of multi-hot ones
    scales: tuple[Scale, ...]

    @classmethod
    def fit(cls, frame: pl.DataFrame, features: tuple[Feature, ...]) -> FeatureEncoder:
        """Learn from all rows of ``frame``. Infinite numbers and NaN are a :class:`DataError` that names the first row."""
        encoder = cls(features, (), ())
        categories = tuple(_categories(frame, feature) for feature in encoder._single() + encoder._multi())
        scales = tuple(
            _scale(_numbers(frame, feature), log=feature.transform == "log") for feature in encoder._numeric()
        )
        return cls(features, categories, scales)

    @property
    def layout(self) -> FeatureLayout:
        """The sizes of what :meth:`encode` returns."""
        sizes = tuple(known.size for known in self.categories)
        num_categorical = len(self._single())
        return FeatureLayout(
            sizes[:num_categorical],
            sizes[num_categorical:],
            len(self.scales) + sum(scale.flag for scale in self.scales),
        )

    def column_names(self) -> list[str]:
        """The names of the encoded categorical columns, then of the numeric ones and of their flags."""
        numeric = [feature.name for feature in self._numeric()]
        flags = [name for name, scale in zip(numeric, self.scales, strict=True) if scale.flag]
        return [feature.name for feature in self._single()] + numeric + flags

    def encode(self, frame: pl.DataFrame) -> Features:
        """Encode every row (N). A missing column or an unknown value has index 0, a missing number the mean.

        A multi-hot field keeps each value once a row, and index 0 for unknown ones; a row without values is empty.
        """
        layout = self.layout
        fields = self._single() + self._multi()
        single: list[Tensor] = []
        several: list[Ragged] = []
        for feature, known, offset in zip(fields, self.categories, layout.offsets, strict=True):
            if isinstance(known, Quantiles):
                single.append(known.indices(_finite(_numbers(frame, feature, strict=False))) + offset)
            elif feature.kind == "categorical":
                single.append(known.indices(_column(frame, feature)) + offset)
            else:
                lists = _lists(frame, feature)
                ids = known.indices(lists.explode(empty_as_null=False, keep_nulls=False)) + offset
                lengths = torch.from_numpy(lists.list.len().fill_null(0).cast(pl.Int64).to_numpy(writable=True))
                several.append(Ragged(ids, running_total(lengths)))
        numeric: list[Tensor] = []
        flags: list[Tensor] = []
        for feature, scale in zip(self._numeric(), self.scales, strict=True):
            numbers = _finite(_numbers(frame, feature, strict=False))
            numbers = _logarithm(numbers) if scale.log else numbers
            scaled = ((numbers - scale.mean) / scale.std).fill_null(0.0)
            numeric.append(torch.from_numpy(scaled.cast(pl.Float32).to_numpy(writable=True)))
            if scale.flag:
                flags.append(torch.from_numpy(numbers.is_null().cast(pl.Float32).to_numpy(writable=True)))
        return Features(
            layout,
            torch.stack(single, dim=1) if single else None,
            tuple(several),
            torch.stack(numeric + flags, dim=1) if numeric else None,
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy; :meth:`from_dict` is its inverse."""
        return {
            "features": [asdict(feature) for feature in self.features],
            "categories": [known.to_dict() for known in self.categories],
            "scales": [asdict(scale) for scale in self.scales],
        }

    @classmethod
    def from_dict(cls, stated: dict[str, Any]) -> FeatureEncoder:
        """The encoder that :meth:`to_dict` described."""
        return cls(
            tuple(Feature(**feature) for feature in stated["features"]),
            tuple(categories_from_dict(known) for known in stated["categories"]),
            tuple(Scale(**scale) for scale in stated["scales"]),
        )

    def _single(self) -> list[Feature]:
        return [feature for feature in self.features if feature.is_category]

    def _multi(self) -> list[Feature]:
        return [feature for feature in self.features if feature.kind == "multi"]

    def _numeric(self) -> list[Feature]:
        return [feature for feature in self.features if feature.kind == "numeric" and not feature.is_category]


@dataclass(frozen=True, slots=True)
class Encoders:
    """All that turns outside values into indices and back. ``titles`` belong to the items 1, 2, … in order."""

    users: Vocabulary
    items: Vocabulary
    user_features: FeatureEncoder | None = None
    item_features: FeatureEncoder | None = None
    context: FeatureEncoder | None = None
    titles: tuple[str, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy; :meth:`from_dict` is its inverse."""
        encoders = {"user_features": self.user_features, "item_features": self.item_features, "context": self.context}
        return {
            "users": self.users.ids.tolist(),
            "items": self.items.ids.tolist(),
            **{name: None if encoder is None else encoder.to_dict() for name, encoder in encoders.items()},
            "titles": None if self.titles is None else list(self.titles),
        }

    @classmethod
    def from_dict(cls, stated: dict[str, Any]) -> Encoders:
        """The encoders that :meth:`to_dict` described."""

        def encoder(name: str) -> FeatureEncoder | None:
            return None if stated[name] is None else FeatureEncoder.from_dict(stated[name])

        titles = stated["titles"]
        return cls(
            Vocabulary(stated["users"]),
            Vocabulary(stated["items"]),
            encoder("user_features"),
            encoder("item_features"),
            encoder("context"),
            None if titles is None else tuple(titles),
        )


def _categories(frame: pl.DataFrame, feature: Feature) -> Categories:
    if feature.transform == "quantiles":
        return Quantiles.fit(_checked(_numbers(frame, feature)), 32 if feature.buckets is None else feature.buckets)
    if feature.buckets is not None:
        return Hashed(feature.buckets)
    column = (
        _column(frame, feature)
        if feature.kind == "categorical"
        else _lists(frame, feature).explode(empty_as_null=False, keep_nulls=False)
    )
    return Known.fit(column, feature.min_count)


def _checked(numbers: pl.Series) -> pl.Series:
    if not numbers.drop_nulls().is_finite().all():
        row = (~numbers.is_finite()).fill_null(value=False).arg_max()
        assert row is not None
        raise DataError(
            f"Feature {numbers.name!r} is {numbers[row]} in row {row + 1}. Numbers must be finite; leave a value empty where it is missing."
        )
    return numbers


def _logarithm(numbers: pl.Series) -> pl.Series:
    return numbers.clip(lower_bound=0).log1p()


def _scale(numbers: pl.Series, *, log: bool) -> Scale:
    numbers = _logarithm(_checked(numbers)) if log else _checked(numbers)
    finite = numbers.drop_nulls()
    mean, std = (0.0, 0.0) if not len(finite) else (float(np.mean(finite.to_numpy())), float(np.std(finite.to_numpy())))
    return Scale(mean, std if std > 0 and math.isfinite(std) else 1.0, flag=bool(numbers.null_count()), log=log)


def _column(frame: pl.DataFrame, feature: Feature) -> pl.Series:
    if feature.name not in frame.columns:
        return pl.Series(feature.name, [None], dtype=pl.String).new_from_index(0, len(frame))
    return _as_text(frame[feature.name])


def _lists(frame: pl.DataFrame, feature: Feature) -> pl.Series:
    """The values of each row, as text, each once."""
    if feature.name not in frame.columns:
        return pl.Series(feature.name, [None], dtype=pl.List(pl.String)).new_from_index(0, len(frame))
    column = frame[feature.name]
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if not isinstance(column.dtype, pl.List):
        text = _as_text(column)
        column = text.reshape((-1, 1)).arr.to_list() if feature.separator is None else text.str.split(feature.separator)
    element = pl.element().cast(pl.String).str.strip_chars().str.strip_suffix(".0")  # 3.0 and 3 are the same value
    return column.list.eval(element.filter(element.is_not_null() & (element != ""))).list.unique(maintain_order=True)


def _as_text(column: pl.Series) -> pl.Series:
    """Values as text, empty text as missing; 3.0, as in a column of numbers with gaps, is the same value as 3."""
    if column.dtype.is_nested():
        raise DataError(f'Feature {column.name!r} holds {column.dtype}. Make its kind "multi", or leave it out.')
    text = column.cast(pl.String)
    if column.dtype.is_float():
        text = column.fill_nan(None).cast(pl.String).str.strip_suffix(".0")
    return text.set(text == "", None)


def _numbers(frame: pl.DataFrame, feature: Feature, *, strict: bool = True) -> pl.Series:
    if feature.name not in frame.columns:
        return pl.Series(feature.name, [None], dtype=pl.Float64).new_from_index(0, len(frame))
    column = frame[feature.name]
    if isinstance(column.dtype, pl.Date | pl.Datetime):
        column = column.cast(pl.Datetime("us")).dt.epoch("s") / 86_400  # days
    text = _as_text(column)
    numbers = column.cast(pl.Float64, strict=False)
    wrong = numbers.is_null() & text.is_not_null()
    if strict and wrong.any():
        row = wrong.arg_max()
        assert row is not None
        raise DataError(
            f"Feature {feature.name!r} is numeric, and row {row + 1} has {column[row]!r}. Mend the value, or make the feature categorical."
        )
    return numbers


def _finite(numbers: pl.Series) -> pl.Series:
    return numbers.set(~numbers.is_finite().fill_null(value=True), None)
