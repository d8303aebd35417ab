"""Feature columns of a frame to :class:`Features`, by encoders that are fitted once and kept with the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import msgspec
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from shortlist.contracts import FeatureLayout, Features, Ragged
from shortlist.data.categories import Categories, Hashed, Known, Quantiles, categories_from_dict
from shortlist.data.columns import Columns
from shortlist.data.image_columns import SIDE, Pictures
from shortlist.data.levels import Levels, Spread
from shortlist.data.scales import Scale, finite
from shortlist.data.titles import Titles
from shortlist.data.vectors import VectorEncoder
from shortlist.schema import Feature
from shortlist.texts import Texts
from shortlist.vocabulary import Vocabulary

ROWS_AT_ONCE = 8192


@dataclass(frozen=True, slots=True)
class FeatureEncoder:
    """What was learnt from the columns: the values of each categorical and multi-hot one, the scale of each numeric one, how
    each text, vector and encoded image becomes a standardised vector. Of thumbnails nothing is learnt.

    ``categories``, ``scales`` and ``vectors`` follow the order of ``features``, kind by kind. Values are compared as text, so that 3 in
    a file and "3" in a request are the same.

    >>> frame = pl.DataFrame({"brand": ["b", "a", None], "price": [1.0, 3.0, None]})
    >>> encoder = FeatureEncoder.fit(frame, (Feature("brand", "categorical", "item"), Feature("price", "numeric", "item")))
    >>> encoder.layout.categorical, encoder.layout.numeric
    ((3,), 2)
    >>> encoded = encoder.encode(frame)
    >>> encoded.categorical.tolist(), encoded.numeric.tolist()
    ([[2], [1], [0]], [[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    """

    features: tuple[Feature, ...]
    categories: tuple[Categories, ...]  # of fields with one value a row, then of multi-hot ones
    scales: tuple[Scale, ...]
    vectors: tuple[VectorEncoder, ...] = ()

    @classmethod
    def fit(cls, frame: pl.DataFrame, features: tuple[Feature, ...]) -> FeatureEncoder:
        """Learn from all rows of ``frame``. Infinite numbers and NaN are a :class:`DataError` that names the first row."""
        return cls._fit(Columns(frame), features)

    @classmethod
    def fit_encode(cls, frame: pl.DataFrame, features: tuple[Feature, ...]) -> tuple[FeatureEncoder, Features]:
        """An encoder that has learnt from all rows of ``frame``, and those encoded."""
        columns = Columns(frame)
        encoder = cls._fit(columns, features)
        return encoder, encoder._encode(columns)

    @classmethod
    def _fit(cls, columns: Columns, features: tuple[Feature, ...]) -> FeatureEncoder:
        kinds = cls(features, (), ())
        categories = columns.each(partial(_categories, columns), kinds.fields())
        scales = columns.each(partial(Scale.fit, columns), kinds._numeric())
        vectors = [VectorEncoder.fit(columns.values(feature), feature) for feature in kinds._vectors()]
        return cls(features, tuple(categories), tuple(scales), tuple(vectors))

    @property
    def layout(self) -> FeatureLayout:
        """The sizes of what :meth:`encode` returns."""
        sizes = tuple(known.size for known in self.categories)
        num_categorical = len(self._single())
        return FeatureLayout(
            sizes[:num_categorical],
            sizes[num_categorical:],
            len(self.scales) + sum(scale.flag for scale in self.scales),
            tuple(encoder.width for encoder in self.vectors),
            tuple(SIDE if feature.size is None else feature.size for feature in self._pictures()),
        )

    def column_names(self) -> list[str]:
        """The names of the encoded categorical columns, then of the numeric ones and of their flags."""
        numeric = [feature.name for feature in self._numeric()]
        flags = [name for name, scale in zip(numeric, self.scales, strict=True) if scale.flag]
        return [feature.name for feature in self._single()] + numeric + flags

    def fields(self) -> list[Feature]:
        """The features with ids, in the order of ``categories``."""
        return self._single() + self._multi()

    def encode(self, frame: pl.DataFrame) -> Features:
        """Encode every row (N). A missing column or an unknown value has index 0, a missing number or vector the mean, and a
        missing picture is black. A vector or a picture that cannot be read is a :class:`DataError`.

        A multi-hot field keeps each value once a row, and index 0 for unknown ones; a row without values is empty.
        """
        return self._encode(Columns(frame))

    def _encode(self, columns: Columns) -> Features:
        layout, num_single = self.layout, len(self._single())
        fields = list(zip(self.fields(), self.categories, layout.offsets, strict=True))

        def single(field: tuple[Feature, Categories, int]) -> Tensor | Spread:
            feature, known, offset = field
            if isinstance(known, Quantiles):
                return known.indices(columns.numbers(feature, finite=True)) + offset
            return found(feature, known, offset, columns.levels(feature))

        def several(field: tuple[Feature, Categories, int]) -> Ragged:
            feature, known, offset = field
            values, offsets = columns.lists(feature)
            return Ragged(found(feature, known, offset, values)[:], offsets)

        def found(feature: Feature, known: Categories, offset: int, levels: Levels) -> Tensor | Spread:
            places = columns.places.get(feature.name)
            if places is None:
                return known.indices(levels) + offset
            return levels.spread(torch.from_numpy(places) + offset, missing=offset)

        def number(column: tuple[Feature, Scale]) -> tuple[Tensor, ...]:
            feature, scale = column
            return scale.standardised(columns.numbers(feature, finite=True))

        scaled = columns.each(number, zip(self._numeric(), self.scales, strict=True))
        numeric = [values for values, *_ in scaled] + [flag for _, *flags in scaled for flag in flags]
        vectors = [
            encoder.encode(columns.values(feature))
            for feature, encoder in zip(self._vectors(), self.vectors, strict=True)
        ]
        images = [
            Pictures(columns.values(feature)).thumbnails(side)
            for feature, side in zip(self._pictures(), layout.images, strict=True)
        ]
        return Features(
            layout,
            _side_by_side(columns.each(single, fields[:num_single]), columns),
            tuple(columns.each(several, fields[num_single:])),
            _side_by_side(numeric, columns),
            torch.cat(vectors, dim=1) if vectors else None,
            tuple(images),
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy of all but :meth:`arrays`; :meth:`from_dict` is the inverse of both."""
        return {
            "features": [asdict(feature) for feature in self.features],
            "categories": [known.to_dict() for known in self.categories],
            "scales": [asdict(scale) for scale in self.scales],
            "vectors": [encoder.to_dict() for encoder in self.vectors],
        }

    def arrays(self) -> dict[str, Tensor]:
        """The large part of what was learnt, by name."""
        values = {f"categories.{place}": tensors(known.arrays()) for place, known in enumerate(self.categories)}
        return _prefixed(values | {str(place): encoder.arrays() for place, encoder in enumerate(self.vectors)})

    @classmethod
    def from_dict(cls, stated: dict[str, Any], arrays: Mapping[str, Tensor]) -> FeatureEncoder:
        """The encoder that :meth:`to_dict` and :meth:`arrays` described."""
        categories, vectors = enumerate(stated["categories"]), enumerate(stated["vectors"])
        return cls(
            tuple(msgspec.convert(feature, Feature) for feature in stated["features"]),
            tuple(categories_from_dict(known, _numpy(f"categories.{place}", arrays)) for place, known in categories),
            tuple(msgspec.convert(scale, Scale) for scale in stated["scales"]),
            tuple(VectorEncoder.from_dict(encoder, _below(str(place), arrays)) for place, encoder in vectors),
        )

    def _single(self) -> list[Feature]:
        return [feature for feature in self.features if feature.is_category]

    def _multi(self) -> list[Feature]:
        return [feature for feature in self.features if feature.kind == "multi"]

    def _numeric(self) -> list[Feature]:
        return [feature for feature in self.features if feature.kind == "numeric" and not feature.is_category]

    def _vectors(self) -> list[Feature]:
        return [feature for feature in self.features if feature.is_vector]

    def _pictures(self) -> list[Feature]:
        return [feature for feature in self.features if feature.is_picture]


@dataclass(frozen=True, slots=True)
class Encoders:
    """All that turns outside values into indices and back. ``titles`` belong to the items 1, 2, … in order."""

    users: Vocabulary
    items: Vocabulary
    user_features: FeatureEncoder | None = None
    item_features: FeatureEncoder | None = None
    context: FeatureEncoder | None = None
    titles: Titles | None = None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy of all but :meth:`arrays`; :meth:`from_dict` is the inverse of both."""
        return {name: None if encoder is None else encoder.to_dict() for name, encoder in self._by_owner().items()}

    def arrays(self) -> dict[str, Tensor]:
        """The ids, the titles and the large part of what the encoders learnt, by name."""
        learnt = {name: encoder.arrays() for name, encoder in self._by_owner().items() if encoder is not None}
        known = {"users": tensors(self.users.arrays()), "items": tensors(self.items.arrays())}
        titles = {} if self.titles is None else {"titles": tensors(self.titles.whole().arrays())}
        return _prefixed(known | titles | learnt)

    def _by_owner(self) -> dict[str, FeatureEncoder | None]:
        return {"user_features": self.user_features, "item_features": self.item_features, "context": self.context}

    @classmethod
    def from_dict(cls, stated: dict[str, Any], arrays: Mapping[str, Tensor]) -> Encoders:
        """The encoders that :meth:`to_dict` and :meth:`arrays` described, which go on using the arrays."""

        def encoder(name: str) -> FeatureEncoder | None:
            return None if stated[name] is None else FeatureEncoder.from_dict(stated[name], _below(name, arrays))

        titles = _numpy("titles", arrays)
        return cls(
            Vocabulary.of_arrays(_numpy("users", arrays)),
            Vocabulary.of_arrays(_numpy("items", arrays)),
            encoder("user_features"),
            encoder("item_features"),
            encoder("context"),
            Titles(Texts.of_arrays(titles)) if titles else None,
        )


def tensors(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, Tensor]:
    """The arrays as tensors, which share their memory."""
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _numpy(part: str, arrays: Mapping[str, Tensor]) -> dict[str, npt.NDArray[Any]]:
    """What :func:`tensors` was given, of one part."""
    return {name: table.numpy() for name, table in _below(part, arrays).items()}


def _prefixed(parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{part}.{name}": table for part, tables in parts.items() for name, table in tables.items()}


def _below(part: str, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of :func:`_prefixed` for one part."""
    return {name.removeprefix(f"{part}."): table for name, table in arrays.items() if name.startswith(f"{part}.")}


def _categories(columns: Columns, feature: Feature) -> Categories:
    if feature.transform == "quantiles":
        return Quantiles.fit(finite(columns.numbers(feature)), 32 if feature.buckets is None else feature.buckets)
    if feature.buckets is not None:
        return Hashed(feature.buckets)
    levels = columns.levels(feature) if feature.is_category else columns.lists(feature)[0]
    known, columns.places[feature.name] = Known.fit(levels, feature.min_count)
    return known


def _side_by_side(parts: Sequence[Tensor | Spread], columns: Columns) -> Tensor | None:
    """The parts (N,) as one table (N, F), made a block of rows at a time, which stays in the processor's cache."""
    if not parts:
        return None
    table = torch.empty(len(parts[0]), len(parts), dtype=parts[0].dtype)

    def fill(start: int) -> None:
        rows = slice(start, start + ROWS_AT_ONCE)
        torch.stack([part[rows] for part in parts], dim=1, out=table[rows])

    columns.each(fill, range(0, len(table), ROWS_AT_ONCE))
    return table
