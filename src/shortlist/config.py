"""The settings of a whole run in one tree, to and from TOML; a typo is an error that names the nearest right key."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from shortlist.errors import SettingsError, nearest
from shortlist.index import AnyIndex
from shortlist.models import AnyModel, TwoTower
from shortlist.training import Training

Split = Literal["auto", "time", "last_out", "sessions", "random", "none"]


@dataclass(frozen=True, slots=True)
class DataConfig:
    """How events are read and split. ``schema`` overrides what is inferred: {"timestamp": "time", …}."""

    format: str | None = None
    schema: dict[str, Any] = field(default_factory=dict)
    split: Split = "auto"  # whole sessions; of users by time where there are timestamps, else last-out
    valid: float = 0.1
    test: float = 0.1
    seed: int = 0  # of a random split
    min_user_events: int = 1
    min_item_events: int = 1


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Everything that ``shortlist train`` can be told."""

    data: DataConfig = DataConfig()
    retriever: AnyModel | tuple[AnyModel, ...] = TwoTower()  # several: [[retriever]] tables in TOML
    ranker: AnyModel | None = None
    index: AnyIndex | Literal["auto"] = "auto"
    candidates: int = 200
    diversity: float = 0.0  # of the answers: the recommender's default, as is the next
    caps: dict[str, int] = field(default_factory=dict)  # at most so many items of one value: {"category": 2, …}
    training: Training = Training()
    ranker_training: Training | None = None  # None: as training
    exclude_seen: bool = True  # when validating: whether what was met before may not be found again


def settings_type(name: str, union: Any) -> type[Any]:
    """The settings class that ``name`` means ("two_tower", "two-tower", "TwoTower").

    >>> settings_type("two_tower", AnyModel).__name__
    'TwoTower'
    """
    classes: dict[str, type[Any]] = {_plain(kind.__name__): kind for kind in get_args(union)}
    if _plain(name) not in classes:
        names = [_snake(kind.__name__) for kind in classes.values()]
        raise SettingsError(f"There is no {name!r}.{nearest(name, names)} There are: {', '.join(names)}.")
    return classes[_plain(name)]


def to_dict(settings: Any) -> dict[str, Any]:
    """JSON-ready values of a settings object, its class under "type".

    >>> to_dict(TwoTower())["type"]
    'two_tower'
    """
    plain = msgspec.to_builtins(settings)
    return {"type": _snake(type(settings).__name__), **plain}


def from_dict(values: Mapping[str, Any], union: Any, *, where: str) -> Any:
    """The settings object that :func:`to_dict` described, or that a TOML table with a "type" describes."""
    if "type" not in values:
        raise SettingsError(f"{where} needs a type, such as type = {_snake(get_args(union)[0].__name__)!r}.")
    kind = settings_type(str(values["type"]), union)
    return convert({key: value for key, value in values.items() if key != "type"}, kind, where)


def load_config(
    path: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    retriever: str | Sequence[str] | None = None,
    ranker: str | None = None,
    index: str | None = None,
) -> RunConfig:
    """A run's settings: the defaults, under the TOML file, under the names given, under ``key.path=value`` overrides.

    Of several retrievers one is set by its place: ``retriever.0.embedding_dim=64``.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            tree = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise SettingsError(f"There is no configuration file {path}.") from error
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{path} is not TOML: {error}.") from error
    for key, named in (("retriever", retriever), ("ranker", ranker), ("index", index)):
        if named:
            names = [named] if isinstance(named, str) else list(named)
            parts = [_named(name, tree.get(key)) for name in names]
            tree[key] = parts[0] if len(parts) == 1 else parts
    for override in overrides:
        _override(tree, override)
    known = [item.name for item in dataclasses.fields(RunConfig)]
    for key in tree:
        if key not in known:
            raise SettingsError(f"There is no setting {key!r}.{nearest(key, known)} There are: {', '.join(known)}.")
    return RunConfig(
        data=convert(tree.get("data", {}), DataConfig, "data"),
        retriever=_retrievers(tree),
        ranker=_part(tree, "ranker", AnyModel, None),
        index=_part(tree, "index", AnyIndex, "auto"),
        candidates=convert(tree.get("candidates", 200), int, "candidates"),
        diversity=convert(tree.get("diversity", 0.0), float, "diversity"),
        caps=convert(tree.get("caps", {}), dict[str, int], "caps"),
        training=convert(tree.get("training", {}), Training, "training"),
        ranker_training=convert(tree["ranker_training"], Training, "ranker_training")
        if "ranker_training" in tree
        else None,
        exclude_seen=convert(tree.get("exclude_seen", True), bool, "exclude_seen"),
    )


def _named(name: str, found: Any) -> dict[str, Any]:
    """The table of the part that is called ``name``: the one that was found under its key, if it is of that type."""
    for table in found if isinstance(found, list) else [found]:
        if isinstance(table, Mapping) and _plain(str(table.get("type", ""))) == _plain(name):
            return {**table, "type": name}
    return {"type": name}


def _retrievers(tree: Mapping[str, Any]) -> Any:
    """One retriever, or a tuple of them."""
    stated = tree.get("retriever")
    if not isinstance(stated, list):
        return _part(tree, "retriever", AnyModel, "two_tower")
    if not stated:
        raise SettingsError("retriever is an empty list. Name one, such as retriever = 'two_tower'.")
    made = [
        _part({f"retriever.{place}": each}, f"retriever.{place}", AnyModel, None) for place, each in enumerate(stated)
    ]
    return made[0] if len(made) == 1 else tuple(made)


def _part(tree: Mapping[str, Any], key: str, union: Any, default: str | None) -> Any:
    values = tree.get(key)
    if values is None or (isinstance(values, Mapping) and "type" not in values):
        if default is None and not values:
            return None
        if default is None:
            raise SettingsError(f"{key} has settings ({', '.join(values or ())}) and no type. Name one: --{key} NAME.")
        values = {"type": default, **(values or {})}
    if isinstance(values, str):
        values = {"type": values}
    return "auto" if values["type"] == "auto" else from_dict(values, union, where=key)


def _override(tree: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise SettingsError(f"--set takes key.path=value; found {override!r}.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    place: Any = tree
    *parents, last = path.strip().split(".")
    for key in parents:
        below = _entry(place, key, override)
        if isinstance(below, str):
            below = {"type": below}
            place[int(key) if isinstance(place, list) else key] = below
        place = below
    _entry(place, last, override)
    place[int(last) if isinstance(place, list) else last] = value


def _entry(place: Any, key: str, override: str) -> Any:
    """What a table or a list of them has under ``key``; a table gets a new one where it has none."""
    if isinstance(place, list):
        if not key.isdecimal() or int(key) >= len(place):
            raise SettingsError(
                f"--set {override}: there is a list of {len(place)}, and {key!r} is none of its places. They are counted "
                "from 0, as in retriever.0.embedding_dim=64."
            )
        return place[int(key)]
    if not isinstance(place, dict):
        raise SettingsError(f"--set {override}: {key!r} would be a setting of {place!r}, which has none.")
    return place.setdefault(key, {})


def convert(values: Any, kind: Any, where: str) -> Any:
    """``values`` of a TOML file as a ``kind``; an unknown key or a wrong type is a :class:`SettingsError`."""
    if dataclasses.is_dataclass(kind):
        if not isinstance(values, Mapping):
            raise SettingsError(f"{where} is a table of settings; found {values!r}.")
        known = [item.name for item in dataclasses.fields(kind)]
        for key in values:
            if key not in known:
                raise SettingsError(
                    f"{where} has no setting {key!r}.{nearest(key, known)} Settings: {', '.join(known)}."
                )
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        cause = error.__cause__
        if isinstance(cause, SettingsError):
            raise cause from error
        raise SettingsError(f"{where}: {error}.") from error


def _plain(name: str) -> str:
    return re.sub(r"[-_]", "", name).lower()


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", name).lower()
