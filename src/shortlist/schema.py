"""What each column of the events, users and items means."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

from shortlist.errors import SchemaError, nearest

Kind = Literal["categorical", "multi", "numeric", "text", "image", "vector"]
Owner = Literal["user", "item", "context"]
Sequence = Literal["user", "session"]
Transform = Literal["standard", "log", "quantiles"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature column.

    ``kind`` is ``categorical`` (one value a row), ``multi`` (several: a list column, or text split at
    ``separator``), ``numeric``, ``text``, ``image`` or ``vector``. ``owner`` says whose it is: a ``user``'s, an ``item``'s,
    or the event's ``context``. Values seen fewer than ``min_count`` times in training are treated as unknown. With
    ``buckets`` values are hashed into so many instead, which needs no memory for each, and never meets an unknown one.

    Numbers are standardised; ``transform="log"`` first takes log(1 + x) of what is above 0, as suits counts, and
    ``"quantiles"`` makes a category of each of ``buckets`` (32) parts that hold equally many.

    A text becomes a vector by its ``encoder``: ``"tfidf"`` (None means it too), hashed character n-grams reduced to ``dim``
    (64) numbers, or the name or folder of a sentence-transformers model. An image is a path or the bytes of a picture file.
    Without an encoder it becomes a thumbnail of ``size`` (32) pixels a side, which the model learns to see; the name or
    folder of a transformers vision model as ``encoder`` makes a vector of it once. A vector is a list or array of numbers,
    all of one length, or the path of a .npy file with one.
    """

    name: str
    kind: Kind
    owner: Owner
    separator: str | None = None
    min_count: int = 1
    transform: Transform = "standard"
    buckets: int | None = None
    encoder: str | None = None
    dim: int | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise SchemaError(f"Feature {self.name!r} has kind {self.kind!r}. Kinds: {', '.join(get_args(Kind))}.")
        if self.owner not in get_args(Owner):
            raise SchemaError(f"Feature {self.name!r} has owner {self.owner!r}. Owners: {', '.join(get_args(Owner))}.")
        if self.transform not in get_args(Transform):
            raise SchemaError(
                f"Feature {self.name!r} has transform {self.transform!r}.{nearest(self.transform, get_args(Transform))} "
                f"Transforms: {', '.join(get_args(Transform))}."
            )
        if self.transform != "standard" and self.kind != "numeric":
            raise SchemaError(
                f"Feature {self.name!r} is {self.kind}, and transform = {self.transform!r} is for numbers. Leave it out."
            )
        if self.buckets is not None and self.buckets < 2:
            raise SchemaError(f"Feature {self.name!r} has {self.buckets} buckets. Give 2 or more, or leave them out.")
        if self.buckets is not None and self.kind == "numeric" and self.transform != "quantiles":
            raise SchemaError(
                f'Feature {self.name!r} is numeric and has buckets: they are for transform = "quantiles", and for categories.'
            )
        self._check_encoder()

    def _check_encoder(self) -> None:
        if self.buckets is not None and self.kind in ("text", "image", "vector"):
            raise SchemaError(f"Feature {self.name!r} is {self.kind}, and buckets are for categories. Leave them out.")
        if self.encoder is not None and (not isinstance(self.encoder, str) or not self.encoder):
            raise SchemaError(
                f"Feature {self.name!r} has encoder {self.encoder!r}. It is a name or a folder; to use a function, make the "
                "column a vector first: shortlist.embed_column."
            )
        if self.encoder is not None and self.kind not in ("text", "image"):
            raise SchemaError(
                f"Feature {self.name!r} is {self.kind}, and an encoder is for text and images. Leave it out."
            )
        if self.kind == "text" and self.encoder not in (None, "tfidf") and nearest(self.encoder, ("tfidf",)):
            raise SchemaError(f"Feature {self.name!r} has encoder {self.encoder!r}. Did you mean 'tfidf'?")
        if self.dim is not None and (self.kind != "text" or self.encoder not in (None, "tfidf") or self.dim < 1):
            raise SchemaError(
                f"Feature {self.name!r} has dim = {self.dim}. It is a whole number of 1 or more, for text with the encoder "
                '"tfidf" only: other encoders have a width of their own.'
            )
        if self.size is not None and (self.kind != "image" or self.encoder is not None or not 8 <= self.size <= 512):
            raise SchemaError(
                f"Feature {self.name!r} has size = {self.size}. It is the side of a thumbnail, 8 to 512 pixels, for images "
                "without an encoder only."
            )

    @property
    def is_vector(self) -> bool:
        """Whether a row becomes a vector before any network sees it."""
        return self.kind in ("text", "vector") or (self.kind == "image" and self.encoder is not None)

    @property
    def is_picture(self) -> bool:
        """Whether a network sees a row as a thumbnail."""
        return self.kind == "image" and self.encoder is None

    @property
    def is_category(self) -> bool:
        """Whether a row has one value of several: a categorical feature, or a number made one by quantiles."""
        return self.kind == "categorical" or self.transform == "quantiles"


@dataclass(frozen=True, slots=True)
class Schema:
    """The meaning of the columns, by the names they have in the files.

    A role that the data does not have is None. With neither an item nor a user the data is *tabular*: rows of features
    with a label or a rating. ``positive`` is a rule over the event columns in SQL, such as
    ``"rating >= 4"``: events that fulfil it are liked, and only those enter histories, popularity and targets;
    None counts every event. ``cross`` names columns whose combinations say more than each alone, such as
    ``(("user_id", "item_id"),)``: ids and categorical features. ``sequence`` says what a row of the data set is: a user's events or a session's.
    """

    item_id: str | None = "item_id"
    user_id: str | None = "user_id"
    timestamp: str | None = None
    rating: str | None = None
    weight: str | None = None
    label: str | None = None
    event_type: str | None = None
    session_id: str | None = None
    title: str | None = None
    sequence: Sequence = "user"
    positive: str | None = None
    features: tuple[Feature, ...] = ()
    cross: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.sequence not in get_args(Sequence):
            raise SchemaError(f"sequence is {self.sequence!r}. It is one of: {', '.join(get_args(Sequence))}.")
        if self.is_tabular:
            if self.user_id is not None or self.session_id is not None:
                raise SchemaError(
                    "schema.item_id is None, so the data is a table of rows without items, and has no user or session "
                    "either: set user_id = None and session_id = None (their columns may be features), or name the items."
                )
            if self.label is None and self.rating is None:
                raise SchemaError(
                    "schema.item_id is None, so the data is a table of rows to learn a label or a rating of. Name its "
                    "column: schema.label or schema.rating."
                )
        elif self.sequence_id is None:
            raise SchemaError(
                f"sequence = {self.sequence!r} needs a column: set schema.{self.sequence}_id to its name."
            )
        names = [feature.name + "@" + feature.owner for feature in self.features]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise SchemaError(f"Features named twice: {', '.join(doubled)}. Keep one of each.")
        for columns in self.cross:
            self._check_cross(columns)

    def _check_cross(self, columns: tuple[str, ...]) -> None:
        known = [name for name, _, _ in self.crossable()]
        if isinstance(columns, str) or len(columns) < 2:
            raise SchemaError(f"schema.cross has {columns!r}. Each entry lists two columns or more that are crossed.")
        for column in columns:
            if column not in known:
                raise SchemaError(
                    f"schema.cross has {column!r}, which is no id and no categorical feature.{nearest(column, known)} "
                    f"Columns that can be crossed: {', '.join(known) or 'none'}."
                )

    def crossable(self) -> list[tuple[str, str, int]]:
        """Each column that can be crossed, whose it is ("user_id" and "item_id" their own), and its place there."""
        found = [(column, role, 0) for role in ("user_id", "item_id") if (column := getattr(self, role)) is not None]
        for owner in get_args(Owner):
            categorical = [feature.name for feature in self.of(owner) if feature.is_category]
            found += [(name, owner, place) for place, name in enumerate(categorical)]
        return found

    @property
    def is_tabular(self) -> bool:
        """Whether the data is a table of rows without items and users."""
        return self.item_id is None

    @property
    def item_column(self) -> str:
        """The column of the items, of data that has items."""
        if self.item_id is None:
            raise SchemaError("The data is a table of rows without items, so there is nothing to recommend from it.")
        return self.item_id

    @property
    def sequence_id(self) -> str | None:
        """The column whose values group events into sequences."""
        return self.user_id if self.sequence == "user" else self.session_id

    def of(self, owner: Owner) -> tuple[Feature, ...]:
        """The features that belong to ``owner``, in order."""
        return tuple(feature for feature in self.features if feature.owner == owner)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy; :meth:`from_dict` is its inverse."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Schema:
        """Build a schema from plain values; an unknown key is an error that names the nearest right one."""
        _check_keys(values, cls, "schema")
        features = tuple(
            feature if isinstance(feature, Feature) else _feature(feature) for feature in values.get("features", ())
        )
        cross = tuple(tuple(columns) for columns in values.get("cross", ()))
        return cls(**{**values, "features": features, "cross": cross})


def _feature(values: dict[str, Any]) -> Feature:
    _check_keys(values, Feature, f"feature {values.get('name', '')!r}")
    missing = [key for key in ("name", "kind", "owner") if key not in values]
    if missing:
        raise SchemaError(f"A feature needs name, kind and owner; {values!r} has no {', '.join(missing)}.")
    return Feature(**values)


def _check_keys(values: dict[str, Any], kind: type[Any], where: str) -> None:
    known = [field.name for field in dataclasses.fields(kind)]
    for key in values:
        if key not in known:
            raise SchemaError(f"{where} has no entry {key!r}.{nearest(key, known)} Entries: {', '.join(known)}.")
