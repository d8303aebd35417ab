"""A model in training and a validation part to the figure that early stopping watches, by the evaluation users run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import torch

from shortlist.contracts import (
    Candidates,
    CandidateSource,
    Catalogue,
    EvaluationBatch,
    Filter,
    Requests,
    Retriever,
    Stages,
    When,
)
from shortlist.data.batches import evaluation_batches
from shortlist.data.dataset import Dataset
from shortlist.errors import DataError, SettingsError, TrainingError
from shortlist.evaluation import Report, evaluate_predictions
from shortlist.evaluation import evaluate as evaluate_ranking
from shortlist.features import blocks
from shortlist.funnel import Funnel
from shortlist.index import Exact
from shortlist.model import Model, pair_scores

RATING_METRICS = ("rmse", "mae")
LABEL_METRICS = ("auc", "gauc", "logloss", "ne", "calibration")
MOST_VALIDATED = 10_000  # requests a validation during training looks at

Validate = Callable[[], Mapping[str, float]]
Judge = Callable[[Model], Mapping[str, float]]


def usual_moments(part: Dataset) -> When:
    """When a part is asked where nobody says it: sessions before each event, users before their first."""
    return "each" if part.schema.sequence == "session" else "first"


def validator(
    model: Model, validation: Dataset | Judge, metric: str, funnel: Funnel | None, exclude_seen: bool
) -> Validate:
    """What early stopping watches, computed by the evaluation that users run; ``funnel`` is what the model ranks in.

    ``validation`` may be a judge of one's own, which is shown the model and answers at least ``metric``.
    """
    if not isinstance(validation, Dataset):
        judge = validation
        return _on_the_cpu(model, lambda: judge(model))
    if metric in RATING_METRICS + LABEL_METRICS:
        return _on_the_cpu(
            model, lambda: {metric: judge_predictions(model, validation, [metric], bootstrap=0)[metric].value}
        )
    history = model.history if funnel is None else funnel.history
    batches = list(
        evaluation_batches(
            validation,
            history=history,
            moments=usual_moments(validation),
            most=MOST_VALIDATED,
            exclude_seen=exclude_seen,
        )
    )
    if not batches:
        raise TrainingError("The validation part has no liked events. Give one that has, or none.")

    def validate() -> dict[str, float]:
        shortlist: Callable[..., Stages]
        if funnel is not None:
            shortlist = funnel.shortlist
        elif isinstance(model.network, Retriever | CandidateSource):
            shortlist = Funnel.of(model, index=Exact()).shortlist  # the item vectors have changed
        else:
            shortlist = rank_all(model)
        return _figures(shortlist, batches, metric, model.catalogue)

    return _on_the_cpu(model, validate)


def _on_the_cpu(model: Model, validate: Validate) -> Validate:
    """Requests and indexes lie in the CPU's memory; a network that trains elsewhere comes over for a while."""

    def moved() -> Mapping[str, float]:
        device = next(chain(model.network.parameters(), model.network.buffers())).device
        model.network.to("cpu")
        try:
            return validate()
        finally:
            model.network.to(device)

    return moved


def _figures(
    shortlist: Callable[..., Stages], batches: list[EvaluationBatch], metric: str, catalogue: Catalogue
) -> dict[str, float]:
    report = evaluate_ranking(shortlist, batches, metrics=(metric,), num_items=catalogue.num_items, bootstrap=0)
    return {metric: report[metric].value}


def rank_all(model: Model) -> Callable[..., Stages]:
    """A ranker's answer when every item, or every one that a filter lists, is a candidate: what judges it alone."""
    items = torch.arange(model.dataset.num_items + 1)

    def shortlist(requests: Requests, *, k: int, filter: Filter | None = None) -> Stages:
        listed = None if filter is None or filter.allowed is None or filter.allowed.dim() == 1 else filter.allowed
        width = len(items) if listed is None else listed.shape[1]
        found: list[Candidates] = []
        for rows in blocks(len(requests), max(1, 4_000_000 // width)):
            own = None if filter is None else filter.take(rows)
            chosen = items.expand(len(rows), -1) if listed is None else listed[rows]
            scores = pair_scores(model.network, requests.take(rows), chosen).clone()
            if listed is not None:
                scores = torch.full((len(rows), len(items)), -torch.inf).scatter_(1, chosen, scores)
            found.append(Candidates.top(scores, k, own))
        best = Candidates(torch.cat([part.items for part in found]), torch.cat([part.scores for part in found]))
        return Stages(best, best, best)

    return shortlist


def judge_predictions(
    model: Model, part: Dataset, metrics: Sequence[str], *, bootstrap: int = 1000, seed: int = 0
) -> Report:
    """How near the model's predictions of the part's own events come to their ratings, or to whether they were liked."""
    own, scores = part.targets(), model.score_events(part)
    of_ratings = set(metrics) <= set(RATING_METRICS)
    if not of_ratings and not set(metrics) <= set(LABEL_METRICS):
        raise SettingsError(f"{', '.join(metrics)}: ratings and labels are evaluated apart.")
    if of_ratings:
        if own.ratings is None:
            raise DataError("There are no ratings to compare with. Name their column: schema.rating.")
        return evaluate_predictions(scores.numpy(), ratings=own.ratings.numpy(), bootstrap=bootstrap, seed=seed)
    if own.liked is None:
        raise DataError(
            "Every event counts as liked, so there is nothing to tell apart. Set schema.positive or schema.label."
        )
    if getattr(model.network, "link", "identity") == "sigmoid":
        scores = torch.sigmoid(scores.double())
    groups = own.rows().numpy() if part.num_users > 1 else None
    return evaluate_predictions(scores.numpy(), labels=own.liked.numpy(), groups=groups, bootstrap=bootstrap, seed=seed)
