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
from shortlist.errors import DataError
from shortlist.features import running_total
from shortlist.schema import Feature
from shortlist.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Scale:
    """How a numeric column is standardised. With ``flag`` a further column says 1 where the value is missing."""

    mean: float
    std: float
    flag: bool


@dataclass(frozen=True, slots=True)
class FeatureEncoder:
    """What was learnt from the columns: the values of each categorical and multi-hot one, the scale of each numeric one.

    ``values`` and ``scales`` follow the order of ``features``, kind by kind. Values are compared as text, so that 3 in
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
    values: tuple[tuple[str, ...], ...]  # of categorical fields, then of multi-hot ones; value v has index v+1
    scales: tuple[Scale, ...]

    @classmethod
    def fit(cls, frame: pl.DataFrame, features: tuple[Feature, ...]) -> FeatureEncoder:
        """Learn from all rows of ``frame``. Infinite numbers and NaN are a :class:`DataError` that names the first row."""
        listed = [feature for kind in ("categorical", "multi") for feature in features if feature.kind == kind]
        values = tuple(_known_values(frame, feature) for feature in listed)
        scales = tuple(_scale(_numbers(frame, feature)) for feature in features if feature.kind == "numeric")
        return cls(features, values, scales)

    @property
    def layout(self) -> FeatureLayout:
        """The sizes of what :meth:`encode` returns."""
        sizes = tuple(len(known) + 1 for known in self.values)
        num_categorical = len(self._of("categorical"))
        return FeatureLayout(
            sizes[:num_categorical],
            sizes[num_categorical:],
            len(self.scales) + sum(scale.flag for scale in self.scales),
        )

    def encode(self, frame: pl.DataFrame) -> Features:
        """Encode every row (N). A missing column or an unknown value has index 0, a missing number the mean.

        A multi-hot field keeps each value once a row, and index 0 for unknown ones; a row without values is empty.
        """
        layout = self.layout
        fields = self._of("categorical") + self._of("multi")
        single: list[Tensor] = []
        several: list[Ragged] = []
        for feature, known, offset in zip(fields, self.values, layout.offsets, strict=True):
            if feature.kind == "categorical":
                single.append(_indices(_column(frame, feature), known) + offset)
            else:
                lists = _lists(frame, feature)
                ids = _indices(lists.explode(empty_as_null=False, keep_nulls=False), known) + offset
                lengths = torch.from_numpy(lists.list.len().fill_null(0).cast(pl.Int64).to_numpy(writable=True))
                several.append(Ragged(ids, running_total(lengths)))
        numeric: list[Tensor] = []
        flags: list[Tensor] = []
        for feature, scale in zip(self._of("numeric"), self.scales, strict=True):
            numbers = _finite(_numbers(frame, feature, strict=False))
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
            "values": [list(known) for known in self.values],
            "scales": [asdict(scale) for scale in self.scales],
        }

    @classmethod
    def from_dict(cls, stated: dict[str, Any]) -> FeatureEncoder:
        """The encoder that :meth:`to_dict` described."""
        return cls(
            tuple(Feature(**feature) for feature in stated["features"]),
            tuple(tuple(known) for known in stated["values"]),
            tuple(Scale(**scale) for scale in stated["scales"]),
        )

    def _of(self, kind: str) -> list[Feature]:
        return [feature for feature in self.features if feature.kind == kind]


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


def _known_values(frame: pl.DataFrame, feature: Feature) -> tuple[str, ...]:
    column = (
        _column(frame, feature)
        if feature.kind == "categorical"
        else _lists(frame, feature).explode(empty_as_null=False, keep_nulls=False)
    )
    counts = column.drop_nulls().value_counts(name="seen")
    return tuple(counts.filter(pl.col("seen") >= feature.min_count)[column.name].sort().to_list())


def _scale(numbers: pl.Series) -> Scale:
    finite = numbers.drop_nulls()
    if not finite.is_finite().all():
        row = (~numbers.is_finite()).fill_null(value=False).arg_max()
        assert row is not None
        raise DataError(
            f"Feature {numbers.name!r} is {numbers[row]} in row {row + 1}. Numbers must be finite; leave a value empty where it is missing."
        )
    mean, std = (0.0, 0.0) if not len(finite) else (float(np.mean(finite.to_numpy())), float(np.std(finite.to_numpy())))
    return Scale(mean, std if std > 0 and math.isfinite(std) else 1.0, flag=bool(numbers.null_count()))


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


def _indices(column: pl.Series, known: tuple[str, ...]) -> Tensor:
    """The place of each value in ``known``, counted from 1; 0 for others and missing ones."""
    if not known:
        return torch.zeros(len(column), dtype=torch.int32)
    places = pl.int_range(1, len(known) + 1, dtype=pl.Int32, eager=True)
    found = column.replace_strict(pl.Series(known), places, default=0, return_dtype=pl.Int32)
    return torch.from_numpy(found.to_numpy(writable=True))


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
