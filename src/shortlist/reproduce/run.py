"""A recipe to our figures: everything is chosen on the validation part, and the test part is evaluated once for each seed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shortlist.contracts import EvaluationBatch, Retriever
from shortlist.data import Dataset
from shortlist.data.batches import evaluation_batches
from shortlist.data.sample import Positives, draw_negatives
from shortlist.evaluation import Report, evaluate, given_candidates
from shortlist.fitting import fit
from shortlist.funnel import Funnel
from shortlist.index import Exact
from shortlist.machine import facts
from shortlist.model import Model
from shortlist.reproduce.parts import Parts, read_parts
from shortlist.reproduce.recipe import Protocol, Recipe, Start
from shortlist.reproduce.result import mean
from shortlist.validating import (
    LABEL_METRICS,
    MOST_VALIDATED,
    RATING_METRICS,
    judge_predictions,
    rank_all,
    usual_moments,
)


def reproduce(
    recipe: Recipe, data: str | Path, *, seeds: Sequence[int] = (), device: str = "cpu", show: bool = False
) -> dict[str, Any]:
    """Train on ``device`` and evaluate as ``recipe`` says, for its seeds or ``seeds``; a JSON-ready record of it."""
    parts = read_parts(recipe, Path(data))
    runs = [_run(recipe, parts, seed, device=device, show=show) for seed in (seeds or recipe.seeds)]
    named = {name: repr(getattr(recipe, name)) for name in ("data", "protocol", "model", "training")}
    return {
        "title": recipe.title,
        "settings": named | ({"initial": repr(recipe.initial)} if recipe.initial else {}),
        "runs": runs,
        "mean": mean(runs),
        "published": [dataclasses.asdict(row) for row in recipe.published],
    }


def _run(recipe: Recipe, parts: Parts, seed: int, *, device: str, show: bool) -> dict[str, Any]:
    began, protocol = time.perf_counter(), recipe.protocol
    on_test = protocol.chosen_on == "test"
    train, held = (parts.whole, parts.test) if on_test else (parts.train, parts.valid)

    def figures(model: Model) -> dict[str, float]:
        report = judge(model, held, parts, protocol, seed=seed, most=MOST_VALIDATED)
        return {each.metric: each.value for each in report.metrics}

    def fitted(start: Start, initial: dict[str, Model] | None) -> Model:
        training = dataclasses.replace(start.training, seed=seed, device=device)
        return fit(start.model, train, validation=figures, training=training, initial=initial, show=show)

    def fitted_again(start: Start, chosen: Model, initial: dict[str, Model] | None) -> Model:
        training = dataclasses.replace(start.training, seed=seed, device=device, patience=None)
        if chosen.log is not None:
            training = dataclasses.replace(training, epochs=chosen.log.best_epoch)
        return fit(start.model, parts.whole, training=training, initial=initial, show=show)

    last, starts = Start(recipe.model, recipe.training), recipe.initial
    initial = {name: fitted(start, None) for name, start in starts.items()}
    model = fitted(last, initial or None)
    log, validation = model.log, judge(model, held, parts, protocol, seed=seed)
    if protocol.refit:
        initial = {name: fitted_again(start, initial[name], None) for name, start in starts.items()}
        model = fitted_again(last, model, initial or None)
    minutes = (time.perf_counter() - began) / 60
    report = judge(model, parts.test, parts, protocol, seed=seed)
    return {
        "seed": seed,
        "minutes": round(minutes, 1),
        "best_epoch": None if log is None else log.best_epoch,
        "epochs": None if log is None else len(log.epochs),
        "validation": _figures(validation),
        "test": _figures(report),
        "protocol": report.protocol + (", best epoch chosen on the test part" if on_test else ""),
        "machine": facts(device) | {"threads": torch.get_num_threads()},
    }


def judge(
    model: Model, part: Dataset, parts: Parts, protocol: Protocol, *, seed: int, most: int | None = None
) -> Report:
    """How well the model does on the own events of ``part``, or on ``most`` of its requests, by the recipe's protocol."""
    bootstrap = 1000 if most is None else 0
    if set(protocol.metrics) <= {*LABEL_METRICS, *RATING_METRICS}:
        report = judge_predictions(model, part, protocol.metrics, bootstrap=bootstrap)
        wanted = tuple(each for each in report.metrics if each.metric in protocol.metrics)
        return dataclasses.replace(report, metrics=wanted)
    moments = usual_moments(part)
    batches = evaluation_batches(
        part, history=model.history, moments=moments, most=most, exclude_seen=protocol.exclude_seen
    )
    if part is parts.test and parts.negatives is not None:
        batches = _among(batches, parts.negatives)
    elif protocol.negatives is not None:
        batches = _among_random(batches, parts.train, protocol.negatives, seed=seed)
    is_retriever = isinstance(model.network, Retriever)
    shortlist = Funnel.of(model, index=Exact()).shortlist if is_retriever else rank_all(model)
    return evaluate(shortlist, batches, metrics=protocol.metrics, num_items=part.num_items, bootstrap=bootstrap)


def _among(batches: Iterator[EvaluationBatch], negatives: Tensor) -> Iterator[EvaluationBatch]:
    for batch in batches:
        assert batch.requests.user is not None
        yield dataclasses.replace(batch, filter=given_candidates(negatives[batch.requests.user], batch.targets))


def _among_random(
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
