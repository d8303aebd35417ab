"""The whole job, one function per verb: read and split, train the funnel leak-safe, evaluate it, load it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from shortlist.bundle import checked_contents, read_bundle
from shortlist.config import DataConfig, RunConfig, Split
from shortlist.contracts import ModelSettings, When
from shortlist.data import (
    Dataset,
    hold_back,
    read_dataset,
    read_later,
    split_by_time,
    split_last_out,
    split_random,
    split_sessions,
)
from shortlist.data.batches import evaluation_batches
from shortlist.diagnosing import diagnose as look_inside
from shortlist.diagnosing import known_events
from shortlist.errors import DataError, SettingsError
from shortlist.evaluation import Report, Standing, compare, parse
from shortlist.evaluation import evaluate as evaluate_ranking
from shortlist.fitting import fit
from shortlist.funnel import Funnel
from shortlist.index import AnyIndex
from shortlist.model import Model
from shortlist.models import ALS, DeepFM, ItemKNN, Popularity
from shortlist.recommender import Recommender
from shortlist.training import Training
from shortlist.validating import LABEL_METRICS, RATING_METRICS, judge_predictions, usual_moments

METRICS = ("hr@10", "ndcg@10", "recall@20", "mrr@10", "coverage@10")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A data set and its parts. ``validation`` and ``test`` are None where nothing was split off."""

    dataset: Dataset
    train: Dataset
    validation: Dataset | None
    test: Dataset | None
    split: str

    def describe(self) -> str:
        """The split in one line."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        sizes = ", ".join(f"{name} {len(part.targets()):,}" for name, part in parts.items() if part is not None)
        return f"split    {self.split}: {sizes} events"


def train(
    train: Dataset,
    *,
    validation: Dataset | None = None,
    retriever: ModelSettings | Sequence[ModelSettings],
    ranker: ModelSettings | None = None,
    index: AnyIndex | Literal["auto"] = "auto",
    candidates: int = 200,
    diversity: float = 0.0,
    caps: Mapping[str, int] | None = None,
    training: Training | None = None,
    ranker_training: Training | None = None,
    exclude_seen: bool = True,
    run_dir: str | Path | None = None,
    show: bool = False,
) -> Recommender:
    """Train the funnel so that no stage learns from its own answers.

    With a ranker, the last tenth of ``train`` (by time, or of each user's events where there are no timestamps) is kept
    from the retrievers, and the ranker learns there, on the candidates of retrievers that have not seen those events.
    ``ranker_training`` is ``training`` where it is not given; ``exclude_seen`` is what the validation should do.
    ``diversity`` and ``caps`` are the recommender's defaults.
    """
    folder = None if run_dir is None else Path(run_dir)
    earlier, later = (train, None) if ranker is None else hold_back(train)
    models: list[Model] = []
    for number, settings in enumerate(retriever if isinstance(retriever, Sequence) else [retriever], start=1):
        where = None if folder is None else folder / ("retriever" if number == 1 else f"retriever_{number}")
        model = fit(
            settings,
            earlier,
            validation=validation,
            training=training,
            exclude_seen=exclude_seen,
            run_dir=where,
            show=show,
        )
        models.append(model)
    second = None
    if ranker is not None and later is not None:
        second = fit(
            ranker,
            later,
            validation=validation,
            training=training if ranker_training is None else ranker_training,
            candidates_from=models,
            candidates=candidates,
            exclude_seen=exclude_seen,
            run_dir=None if folder is None else folder / "ranker",
            show=show,
        )
    return Recommender(models, index=index, ranker=second, candidates=candidates, diversity=diversity, caps=caps)


def evaluate(
    recommender: Recommender | Model,
    test: Dataset,
    *,
    metrics: Sequence[str] = METRICS,
    moments: When | None = None,
    exclude_seen: bool = True,
    diagnose: bool = False,
    bootstrap: int = 1000,
    seed: int = 0,
) -> Report:
    """How well the served path finds the own events of ``test``, all items ranked; what each user met before is out.

    With ``moments="first"``, as is usual for users, it asks once of each, with the history that the part carries, and
    compares with all that came after; with ``"each"``, as is usual for sessions, it asks before every event (all prefixes)
    and compares with that event. ``exclude_seen=False`` lets what was met before be found again.

    The report's ``stages`` say where held-out items are lost. With ``diagnose`` they say what exact search would have found
    beside an approximate index, and the report gets a ``diagnosis`` for its page (up to 5,000 requests are asked several
    times over, so it takes a few times as long).

    The metrics ``rmse`` and ``mae`` (of ratings) or ``auc``, ``gauc``, ``logloss``, ``ne`` and ``calibration`` (of liked or not) ask
    for predictions instead: the ranker's, or without one the retriever's, for each own event.
    """
    pointwise = [metric for metric in metrics if metric in RATING_METRICS + LABEL_METRICS]
    if pointwise:
        if len(pointwise) < len(metrics):
            raise SettingsError(
                f"Predictions and rankings are evaluated apart: {', '.join(pointwise)} in one call, the rest in another."
            )
        model = recommender
        if isinstance(model, Recommender):
            model = model.funnel.scorer
        if diagnose:
            raise SettingsError(f"diagnose looks into rankings; {pointwise[0]} judges predictions. Ask for ndcg@10.")
        return judge_predictions(model, test, pointwise, bootstrap=bootstrap, seed=seed)
    funnel = recommender.funnel if isinstance(recommender, Recommender) else Funnel.of(recommender)
    when = usual_moments(test) if moments is None else moments
    report = evaluate_ranking(
        funnel.shortlist,
        evaluation_batches(test, history=funnel.history, moments=when, exclude_seen=exclude_seen),
        metrics=tuple(metrics),
        num_items=test.num_items,
        item_counts=known_events(funnel.retriever, test).positives().events.item_counts(),
        steps=funnel.steps(run_exact=diagnose),
        bootstrap=bootstrap,
        seed=seed,
    )
    if diagnose:
        k = min(parse(metric).k for metric in metrics)
        found = look_inside(funnel, test, k=k, moments=when, exclude_seen=exclude_seen, seed=seed)
        report = replace(report, diagnosis=found)
    return report if when == "first" else replace(report, unit="requests")


def baselines(train: Dataset) -> dict[str, Recommender]:
    """What any recommender should beat, fitted on ``train``: popularity (all-time and recent), item-kNN, ALS."""
    kinds: dict[str, ModelSettings] = {"popularity": Popularity(), "item-kNN": ItemKNN(), "ALS": ALS()}
    if train.events.times is not None:
        kinds["recent popularity"] = Popularity(recent_days=30)
    return {name: Recommender(fit(settings, train)) for name, settings in kinds.items()}


def evaluate_bundle(
    recommender: Recommender, *, events: Any = None, metrics: Sequence[str] = METRICS, exclude_seen: bool = True
) -> Standing:
    """Evaluate a recommender on the part held out of its training, or on later ``events``, beside the baselines.

    The baselines are fitted on everything that came before that part (of sessions: on all others): they may know more
    recent events than the model.
    """
    test = _kept_or_later(recommender, events)
    ours = evaluate(recommender, test, metrics=metrics, exclude_seen=exclude_seen)
    reports = {"bundle": ours}
    held_sessions = events is None and test.schema.sequence == "session"
    known = recommender.dataset.without_rows(test.events.lengths > 0) if held_sessions else test.before()
    for name, other in baselines(known).items():
        reports[name] = evaluate(other, test, metrics=metrics, exclude_seen=exclude_seen)
    watched = "ndcg@10" if "ndcg@10" in ours.per_user else next(iter(ours.per_user))
    differences = {name: compare(ours, report, metric=watched) for name, report in reports.items() if name != "bundle"}
    return Standing(reports, differences)


def report_bundle(
    recommender: Recommender, *, events: Any = None, metrics: Sequence[str] = METRICS, exclude_seen: bool = True
) -> Report:
    """Where a recommender loses quality, on the part held out of its training or on later ``events``."""
    test = _kept_or_later(recommender, events)
    return evaluate(recommender, test, metrics=metrics, exclude_seen=exclude_seen, diagnose=True)


def _kept_or_later(recommender: Recommender, events: Any) -> Dataset:
    test = recommender.held_out if events is None else read_later(events, recommender.dataset)
    if test is None:
        raise DataError(
            "The bundle was trained on everything and keeps no part to evaluate on. Give a file of later events."
        )
    return test


def load(path: str | Path) -> Recommender:
    """The recommender saved as the folder ``path``."""
    with checked_contents(path):
        return Recommender.from_bundle(read_bundle(path))


def read_and_split(events: Any, config: DataConfig, *, items: Any = None, users: Any = None) -> Prepared:
    """Read a data set and split it as ``config`` says."""
    dataset = read_dataset(
        events,
        items=items,
        users=users,
        schema=config.schema or None,
        format=config.format,
        min_user_events=config.min_user_events,
        min_item_events=config.min_item_events,
    )
    split = config.split
    if split == "auto":
        untimed: Split = "random" if dataset.schema.is_tabular else "last_out"
        by_order = untimed if dataset.events.times is None else "time"
        split = "sessions" if dataset.schema.sequence == "session" else by_order
    if dataset.schema.is_tabular and split in ("last_out", "sessions"):
        raise SettingsError(
            f'data.split = "{split}" needs users or sessions, and the data is a table of rows. Use "random" or "time".'
        )
    if split == "none":
        return Prepared(dataset, dataset, None, None, "nothing kept for evaluation")
    if split == "time":
        train_part, valid, test = split_by_time(dataset, valid=config.valid, test=config.test)
        return Prepared(dataset, train_part, valid, test, "by time")
    if split == "sessions":
        train_part, valid, test = split_sessions(dataset, valid=config.valid, test=config.test)
        return Prepared(dataset, train_part, valid, test, "whole sessions")
    if split == "last_out":
        train_part, valid, test = split_last_out(dataset)
        return Prepared(dataset, train_part, valid, test, "each user's last events")
    train_part, valid, test = split_random(dataset, valid=config.valid, test=config.test, seed=config.seed)
    how = "random rows" if dataset.schema.is_tabular else "random (it leaks the future)"
    return Prepared(dataset, train_part, valid, test, how)


def run_table(prepared: Prepared, config: RunConfig, *, run_dir: str | Path | None = None, show: bool = False) -> Model:
    """Train a ranker on a table of rows as ``config`` says: its ranker, DeepFM where it names none."""
    usual = DeepFM(loss="mse" if prepared.train.schema.label is None else "bce")
    return fit(
        usual if config.ranker is None else config.ranker,
        prepared.train,
        validation=prepared.validation,
        training=config.training if config.ranker_training is None else config.ranker_training,
        run_dir=run_dir,
        show=show,
    )


def evaluate_table(model: Model, test: Dataset) -> Report:
    """How near a model of a table comes to the labels, or the ratings, of a part's own rows."""
    metrics = ("rmse", "mae") if test.schema.label is None else ("auc", "logloss", "ne", "calibration")
    return evaluate(model, test, metrics=metrics)


def run(prepared: Prepared, config: RunConfig, *, run_dir: str | Path | None = None, show: bool = False) -> Recommender:
    """Train as ``config`` says. The recommender's histories hold all events; its models have not learnt from the test."""
    trained = train(
        prepared.train,
        validation=prepared.validation,
        retriever=config.retriever,
        ranker=config.ranker,
        index=config.index,
        candidates=config.candidates,
        diversity=config.diversity,
        caps=config.caps,
        training=config.training,
        ranker_training=config.ranker_training,
        exclude_seen=config.exclude_seen,
        run_dir=run_dir,
        show=show,
    )
    return trained.with_data(history=prepared.dataset, held_out=prepared.test)
