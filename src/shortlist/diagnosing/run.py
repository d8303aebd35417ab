"""A funnel and a held-out part to a :class:`Diagnosis`, by asking the funnel again and looking at all it does on the way."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from shortlist.contracts import EvaluationBatch, SearchSpeed, Stages, When
from shortlist.data.batches import evaluation_batches
from shortlist.data.dataset import Dataset
from shortlist.diagnosing.examples import examples
from shortlist.diagnosing.items import item_map
from shortlist.diagnosing.known import known_events
from shortlist.errors import ShortlistWarning
from shortlist.evaluation.depth import recall_by_size, sizes_up_to
from shortlist.evaluation.diagnosis import DepthCurve, Diagnosis, PopularityBias, Reliability, TrainingCurve
from shortlist.evaluation.popularity import popularity_bias
from shortlist.evaluation.protocol import with_targets
from shortlist.evaluation.ranks import distinct
from shortlist.evaluation.reliability import reliability
from shortlist.funnel import Funnel
from shortlist.index import HNSW
from shortlist.model import Model
from shortlist.sources import training_queries

MOST_REQUESTS = 5_000  # that are looked at
MOST_COMPARED = 50_000  # items up to which a graph is built to see what it would bring: some seconds
DEPTH = 4  # the most candidates looked at, as a multiple of those that serve
SPEED_K = 100


def diagnose(
    funnel: Funnel, test: Dataset, *, k: int = 10, moments: When, exclude_seen: bool = True, seed: int = 0
) -> Diagnosis:
    """Look into the funnel at up to 5,000 requests of ``test``, drawn at random, with lists of ``k``."""
    asked = evaluation_batches(
        test, history=funnel.history, moments=moments, most=MOST_REQUESTS, seed=seed, exclude_seen=exclude_seen
    )
    batches = [batch for batch, rows in map(with_targets, asked) if len(rows)]
    width = k if funnel.ranker is None else max(k, funnel.candidates)
    answers = [funnel.shortlist(batch.requests, k=width, filter=batch.filter) for batch in batches]
    reasons: dict[str, str] = {}
    known = known_events(funnel.retriever, test)
    speed = _speed(funnel, reasons)
    return Diagnosis(
        facts=_facts(funnel, test, known),
        depth=_depth(funnel, batches, k),
        speed=speed,
        speed_k=min(SPEED_K, test.num_items),
        reliability=_reliability(funnel, test, batches, answers, reasons),
        popularity=_popularity(test, known, batches, answers, k),
        training=_training(funnel, reasons),
        items=item_map(funnel, known, reasons),
        examples=examples(funnel, test, batches, answers, k=k, seed=seed),
        reasons=reasons,
    )


def _facts(funnel: Funnel, test: Dataset, known: Dataset) -> dict[str, str]:
    own = test.targets()
    facts = {
        "retriever": ", ".join(repr(source.model.settings) for source in funnel.sources),
        "ranker": "none" if funnel.ranker is None else repr(funnel.ranker.settings),
        "index": "none" if funnel.index is None else str(funnel.index.report),
        "catalogue": f"{test.num_items:,} items",
        "known before": f"{len(known.events):,} events of {int((known.events.lengths > 0).sum()):,} {known.schema.sequence}s",
        "held out": f"{len(own):,} events of {int((own.lengths > 0).sum()):,} {test.schema.sequence}s",
    }
    if funnel.ranker is not None:
        facts["candidates"] = f"{funnel.candidates:,}"
    return facts


def _depth(funnel: Funnel, batches: Sequence[EvaluationBatch], k: int) -> DepthCurve:
    most = min(DEPTH * max(k, funnel.candidates), funnel.retriever.dataset.num_items)
    serves = k if funnel.ranker is None else max(k, funnel.candidates)
    sizes = sizes_up_to(most, least=min(k, most), known=[serves])
    exact = recall_by_size(funnel.exact().retrieve, batches, sizes, is_nested=True)
    served = None if funnel.is_exact else recall_by_size(funnel.retrieve, batches, sizes, is_nested=False)
    return DepthCurve(sizes, exact, served, min(serves, most), sum(len(batch.targets) for batch in batches))


def _speed(funnel: Funnel, reasons: dict[str, str]) -> tuple[SearchSpeed, ...]:
    """The index's own points; beside an exact one those of a graph, to see what it would bring."""
    if funnel.index is None:
        reasons["speed"] = f"{funnel.retriever.name} searches by itself, without an index over vectors."
        return ()
    assert funnel.embedding is not None
    own = funnel.index.sweep()
    items, vectors = funnel.index.alive()
    if not funnel.is_exact or len(items) > MOST_COMPARED:
        return own
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ShortlistWarning
        )  # that it misses the recall it was asked for shows in the plot
        graph = HNSW().build(items, vectors, queries=training_queries(funnel.embedding))
    others = [point for point in graph.sweep() if point.setting != "exact"]
    return own + tuple(SearchSpeed(_short(point.setting), point.recall, point.queries_per_s, False) for point in others)


def _short(setting: str) -> str:
    return setting if setting.startswith("ef_search") else "HNSW, tuned"


def _reliability(
    funnel: Funnel,
    test: Dataset,
    batches: Sequence[EvaluationBatch],
    answers: Sequence[Stages],
    reasons: dict[str, str],
) -> Reliability | None:
    """Of labels where the data has them, else of the ranker's candidates: whether each of them was taken afterwards."""
    model = funnel.retriever if funnel.ranker is None else funnel.ranker
    if getattr(model.network, "link", None) != "sigmoid":
        reasons["reliability"] = f"The scores of {model.name} order items and are no probabilities."
        return None
    liked = test.targets().liked
    if test.schema.label is not None and liked is not None:
        predicted = torch.sigmoid(model.score_events(test).double())
        return reliability(predicted.numpy(), liked.numpy(), of="that a held-out event is labelled 1")
    if funnel.ranker is None:
        reasons["reliability"] = "There is no ranker, and a retriever learns to order items, not how probable each is."
        return None
    predictions: list[Tensor] = []
    outcomes: list[Tensor] = []
    for batch, stages in zip(batches, answers, strict=True):
        judged = stages.ranked.valid & funnel.can_serve(batch.requests)[:, None]  # others were not scored by it
        taken = (stages.ranked.items[:, :, None] == batch.targets[:, None, :]).any(2)
        predictions.append(torch.sigmoid(stages.ranked.scores[judged].double()))
        outcomes.append(taken[judged])
    if not sum(map(len, predictions)):
        reasons["reliability"] = "The ranker scored no candidate: nothing is known of any held-out user."
        return None
    of = "that a candidate is among what its user took next"
    return reliability(torch.cat(predictions).numpy(), torch.cat(outcomes).numpy(), of=of)


def _popularity(
    test: Dataset, known: Dataset, batches: Sequence[EvaluationBatch], answers: Sequence[Stages], k: int
) -> PopularityBias:
    def counted(items: Sequence[Tensor]) -> Tensor:
        return torch.bincount(torch.cat([part.flatten() for part in items]), minlength=test.num_items + 1)

    return popularity_bias(
        shown=counted([stages.ranked.items[:, :k] for stages in answers]),
        held_out=counted([distinct(batch.targets) for batch in batches]),
        training=known.positives().events.item_counts(),
        k=k,
    )


def _training(funnel: Funnel, reasons: dict[str, str]) -> tuple[TrainingCurve, ...]:
    parts: list[tuple[str, Model | None]] = [("retriever", source.model) for source in funnel.sources]
    parts.append(("ranker", funnel.ranker))
    curves = []
    for part, model in parts:
        if model is None or model.log is None:
            continue
        epochs = model.log.epochs
        metric = next((name for epoch in epochs for name in epoch.metrics), None)
        curves.append(
            TrainingCurve(
                part=part,
                model=model.name,
                loss=tuple(epoch.loss for epoch in epochs),
                metric=metric,
                values=tuple(epoch.metrics.get(metric or "", float("nan")) for epoch in epochs),
                best_epoch=model.log.best_epoch,
                seconds=model.log.seconds,
            )
        )
    if not curves:
        reasons["training"] = f"{funnel.retriever.name} is computed at once, without epochs."
    return tuple(curves)
