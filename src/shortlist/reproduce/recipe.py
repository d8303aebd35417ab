"""A recipe: a TOML file with data, protocol, settings and published figures."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from shortlist.config import convert, from_dict
from shortlist.contracts import ModelSettings
from shortlist.errors import SettingsError, nearest
from shortlist.models import AnyModel
from shortlist.training import Training


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a recipe's data is split and judged.

    ``split``: "last_out" (each user's last event is the test, the one before it the validation), "sessions" (a file of
    test sessions, and the last share ``valid`` of the training ones) or "files" (rows with a label or a rating, a file for
    each part; without one for the validation, a random share ``valid`` of the training rows). ``negatives`` ranks each
    target among that many items drawn uniformly from those its user has not met in training, where no file gives them;
    None ranks all items. ``chosen_on="test"`` takes the best epoch on the test part, as some papers did: a result for comparison with theirs alone. With ``refit`` the model is trained again on the
    validation part too, for as many epochs as were best.
    """

    split: Literal["last_out", "sessions", "files"] = "last_out"
    metrics: tuple[str, ...] = ("hr@10", "ndcg@10")
    negatives: int | None = None
    exclude_seen: bool = True
    valid: float = 0.1
    refit: bool = False
    chosen_on: Literal["validation", "test"] = "validation"


@dataclass(frozen=True, slots=True)
class Source:
    """The files of a recipe, below the folder with the data sets.

    ``test`` (and ``valid``) are further files: of sessions, of rows, or of each user's last event. ``negatives`` lists
    the items that each test event is ranked among, as NCF's authors write them. ``items``, ``users``, ``schema`` and
    ``min_item_events`` (where no other file holds a part) as for ``read_dataset``, where ``""`` says that there is no such column.
    """

    events: str
    items: str | None = None
    users: str | None = None
    format: str | None = None
    valid: str | None = None
    test: str | None = None
    negatives: str | None = None
    min_item_events: int = 1
    schema: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Published:
    """One row of a published table. ``must`` and ``aim`` mark what is to be reached."""

    model: str
    source: str
    figures: dict[str, float]


@dataclass(frozen=True, slots=True)
class Start:
    """A model that is fitted first, for the recipe's own to start from."""

    model: ModelSettings
    training: Training


@dataclass(frozen=True, slots=True)
class Recipe:
    """One published result and how ours is made."""

    title: str
    data: Source
    model: ModelSettings
    training: Training
    protocol: Protocol = Protocol()
    seeds: tuple[int, ...] = (0,)
    published: tuple[Published, ...] = ()
    initial: dict[str, Start] = field(default_factory=dict)


def read_recipe(path: str | Path) -> Recipe:
    """The recipe in a TOML file; a typo in it is a :class:`SettingsError`."""
    file = Path(path)
    if not file.is_file():
        raise SettingsError(f"There is no recipe {file}. `shortlist reproduce` lists those of the folder recipes/.")
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file} is not TOML: {error}.") from error
    known = [field.name for field in dataclasses.fields(Recipe)]
    for key in tree:
        if key not in known:
            raise SettingsError(
                f"{file.name} has no setting {key!r}.{nearest(key, known)} Settings: {', '.join(known)}."
            )
    for key in ("title", "data", "model"):
        if key not in tree:
            raise SettingsError(f"{file.name} is not a recipe that can be run: it has no {key!r}.")

    def part(name: str, kind: Any, default: Any) -> Any:
        return convert(tree.get(name, default), kind, f"{file.name}: {name}")

    return Recipe(
        title=part("title", str, ""),
        data=part("data", Source, {}),
        model=from_dict(tree["model"], AnyModel, where=f"{file.name}: model"),
        training=part("training", Training, {}),
        protocol=part("protocol", Protocol, {}),
        seeds=part("seeds", tuple[int, ...], (0,)),
        published=part("published", tuple[Published, ...], ()),
        initial={
            name: _start(values, f"{file.name}: initial.{name}") for name, values in tree.get("initial", {}).items()
        },
    )


def _start(values: dict[str, Any], where: str) -> Start:
    unknown = [key for key in values if key not in ("model", "training")]
    if unknown or "model" not in values:
        raise SettingsError(f"{where} has a model and its training; found {', '.join(values) or 'nothing'}.")
    model = from_dict(values["model"], AnyModel, where=f"{where}.model")
    return Start(model, convert(values.get("training", {}), Training, f"{where}.training"))
