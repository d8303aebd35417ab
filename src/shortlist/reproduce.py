"""A recipe (a TOML file with data, protocol, settings and published figures) to our figures beside the published ones.

Everything is chosen on the validation part; the test part is evaluated once for each seed.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl
import torch

from shortlist.config import convert, from_dict
from shortlist.contracts import EvaluationBatch, ModelSettings
from shortlist.data import Dataset, read_dataset, split_last_out, split_sessions
from shortlist.data.batches import evaluation_batches
from shortlist.data.sample import Positives, draw_negatives
from shortlist.errors import DataError, SettingsError, nearest
from shortlist.evaluation import Report, evaluate, given_candidates
from shortlist.fitting import fit
from shortlist.funnel import Funnel
from shortlist.index import Exact
from shortlist.machine import facts
from shortlist.model import Model
from shortlist.models import AnyModel
from shortlist.training import Training
from shortlist.validating import MOST_VALIDATED, usual_moments


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a recipe's data is split and judged.

    ``negatives`` ranks each target among that many items drawn uniformly from those its user has not met in training;
    None ranks all items. ``valid`` is the share of the training sessions that are kept for validation.
    """

    split: Literal["last_out", "sessions"] = "last_out"
    metrics: tuple[str, ...] = ("hr@10", "ndcg@10")
    negatives: int | None = None
    exclude_seen: bool = True
    valid: float = 0.1
    refit: bool = False  # of sessions: train again on all that are not for the test, for as many epochs as were best


@dataclass(frozen=True, slots=True)
class Source:
    """The files of a recipe, below the folder with the data sets. ``test`` holds sessions that are asked after."""

    events: str
    format: str | None = None
    test: str | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """One row of a published table. ``must`` and ``aim`` mark what is to be reached."""

    model: str
    source: str
    figures: dict[str, float]


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
    )


def reproduce(recipe: Recipe, data: str | Path, *, seeds: Sequence[int] = (), show: bool = False) -> dict[str, Any]:
    """Train and evaluate as ``recipe`` says, for each of its seeds (or ``seeds``); a JSON-ready record of it."""
    train, valid, test = parts(recipe, Path(data))
    whole = None
    if recipe.protocol.refit:
        if recipe.protocol.split != "sessions":
            raise SettingsError("protocol.refit is for split = 'sessions': elsewhere the published rows do without.")
        undivided = dataclasses.replace(recipe, protocol=dataclasses.replace(recipe.protocol, valid=0.0))
        whole, _, _ = parts(undivided, Path(data))
    runs = [_run(recipe, train, valid, test, whole, seed, show=show) for seed in (seeds or recipe.seeds)]
    return {
        "title": recipe.title,
        "settings": {name: repr(getattr(recipe, name)) for name in ("data", "protocol", "model", "training")},
        "runs": runs,
        "mean": _mean(runs),
        "published": [dataclasses.asdict(row) for row in recipe.published],
    }


def table(result: Mapping[str, Any]) -> str:
    """A result as text: our mean and every published row."""
    names = list(result["mean"])
    count = len(result["runs"])
    rows = [(f"ours ({count} seed{'s' if count > 1 else ''})", result["mean"])]
    rows += [(f"{row['model']} ({row['source']})", row["figures"]) for row in result["published"]]
    width = max(len(name) for name, _ in rows)
    lines = [result["title"], " " * width + "".join(f"{name:>10}" for name in names)]
    for name, figures in rows:
        cells = "".join(f"{figures[metric]:>10.4f}" if metric in figures else " " * 10 for metric in names)
        lines.append(f"{name:<{width}}{cells}")
    return "\n".join(lines)


def overview(folder: Path) -> str:
    """The recipes of a folder, a line each, and where there is a result its table."""
    files = sorted(folder.glob("*.toml"))
    if not files:
        raise SettingsError(f"There are no recipes in {folder.resolve()}. Give the path of one: reproduce FILE.toml.")
    blocks = []
    for file in files:
        result = folder / "results" / f"{file.stem}.json"
        known = table(json.loads(result.read_text(encoding="utf-8"))) if result.is_file() else "no result yet"
        blocks.append(f"{file}\n{known}")
    return "\n\n".join(blocks)


def parts(recipe: Recipe, folder: Path) -> tuple[Dataset, Dataset, Dataset]:
    """The training, validation and test parts of a recipe's data."""
    source, protocol = recipe.data, recipe.protocol
    if protocol.split == "last_out":
        return split_last_out(read_dataset(folder / source.events, format=source.format))
    if source.test is None:
        raise SettingsError("protocol.split = 'sessions' needs data.test, a file with the sessions to be tested on.")
    train_sessions, test_sessions = _lines(folder / source.events), _whole(_lines(folder / source.test))
    sessions = [*train_sessions, *test_sessions]
    frame = pl.DataFrame({"session_id": range(len(sessions)), "item_id": sessions}).explode("item_id")
    dataset = read_dataset(frame.with_columns(pl.col("item_id").cast(pl.Int64)), schema={"sequence": "session"})
    valid = round(protocol.valid * len(train_sessions))
    return split_sessions(dataset, valid=valid, test=len(test_sessions))


def _lines(path: Path) -> list[list[str]]:
    if not path.is_file():
        raise DataError(f"There is no file {path}. --data is the folder that holds the data sets.")
    return [line.split() for line in path.read_text(encoding="utf-8").splitlines()]


def _whole(examples: list[list[str]]) -> list[list[str]]:
    """Sessions from a file of all their prefixes, the longest first: what continues the line before is no new session."""
    return [line for line, before in zip(examples, [[], *examples], strict=False) if line != before[: len(line)]]


def _run(
    recipe: Recipe, train: Dataset, valid: Dataset, test: Dataset, whole: Dataset | None, seed: int, *, show: bool
) -> dict[str, Any]:
    began, protocol = time.perf_counter(), recipe.protocol
    training = dataclasses.replace(recipe.training, seed=seed)

    def validate(model: Model) -> dict[str, float]:
        report = judge(model, valid, train, protocol, seed=seed, most=MOST_VALIDATED)
        return {each.metric: each.value for each in report.metrics}

    model = fit(recipe.model, train, validation=validate, training=training, show=show)
    assert model.log is not None
    log = model.log
    validation = judge(model, valid, train, protocol, seed=seed)
    if whole is not None:
        found = dataclasses.replace(training, epochs=log.best_epoch, patience=None)
        model = fit(recipe.model, whole, training=found, show=show)
    minutes = (time.perf_counter() - began) / 60
    report = judge(model, test, train, protocol, seed=seed)
    return {
        "seed": seed,
        "minutes": round(minutes, 1),
        "best_epoch": log.best_epoch,
        "epochs": len(log.epochs),
        "validation": _figures(validation),
        "test": _figures(report),
        "protocol": report.protocol,
        "machine": facts() | {"threads": torch.get_num_threads()},
    }


def judge(
    model: Model, part: Dataset, train: Dataset, protocol: Protocol, *, seed: int, most: int | None = None
) -> Report:
    """How well the model finds the own events of ``part``, or of ``most`` of its requests, by the recipe's protocol."""
    funnel = Funnel.of(model, index=Exact())
    batches = evaluation_batches(
        part, history=funnel.history, moments=usual_moments(part), most=most, exclude_seen=protocol.exclude_seen
    )
    if protocol.negatives is not None:
        batches = _among_negatives(batches, train, protocol.negatives, seed=seed)
    bootstrap = 1000 if most is None else 0
    return evaluate(funnel.shortlist, batches, metrics=protocol.metrics, num_items=part.num_items, bootstrap=bootstrap)


def _among_negatives(
    batches: Iterator[EvaluationBatch], train: Dataset, num: int, *, seed: int
) -> Iterator[EvaluationBatch]:
    met, generator = Positives(train.positives().events), torch.Generator().manual_seed(seed)
    for batch in batches:
        assert batch.requests.user is not None
        drawn = draw_negatives(met, batch.requests.user, num, generator=generator)
        yield dataclasses.replace(batch, filter=given_candidates(drawn, batch.targets))


def _figures(report: Report) -> dict[str, dict[str, float | None]]:
    return {
        each.metric: {
            "value": round(each.value, 5),
            "low": None if each.low is None else round(each.low, 4),
            "high": None if each.high is None else round(each.high, 4),
        }
        for each in report.metrics
    }


def write_result(result: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Write a result as JSON, whole or not at all, and return it with the runs of other seeds that were there before.

    Those of other settings are replaced.
    """
    whole = dict(result)
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before.get("settings") == whole["settings"]:
            seeds = {run["seed"] for run in whole["runs"]}
            kept = [run for run in before["runs"] if run["seed"] not in seeds]
            whole["runs"] = sorted([*kept, *whole["runs"]], key=lambda run: run["seed"])
            whole["mean"] = _mean(whole["runs"])
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)
    return whole


def _mean(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {name: round(statistics.mean(run["test"][name]["value"] for run in runs), 4) for name in runs[0]["test"]}
