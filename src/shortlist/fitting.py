"""Data and settings to one trained model: the right batches, the validation, the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from shortlist.contracts import (
    Candidates,
    Catalogue,
    CountsEvents,
    Grown,
    KnowsItemFeatures,
    LearnsUsers,
    ModelSettings,
    Ranker,
    Solver,
    Trainable,
)
from shortlist.data.batches import ListBatches, Moments
from shortlist.data.dataset import Dataset
from shortlist.data.sequences import SequenceBatches
from shortlist.data.split import hold_back, hold_last, split_random
from shortlist.data.training_batches import TrainingBatches, training_batches, with_labels
from shortlist.errors import SettingsError, TrainingError
from shortlist.features import blocks
from shortlist.funnel import Funnel
from shortlist.growing import grow
from shortlist.growth import start_from
from shortlist.index import Exact
from shortlist.memory import check_memory
from shortlist.mining import MinedBatches
from shortlist.model import Model, TrainedUntil
from shortlist.sources import evidence_width
from shortlist.training import Training, TrainingLog
from shortlist.training import train as run_loop
from shortlist.validating import Judge, Validate, validator

MOST_LISTS = 50_000  # candidate lists a ranker learns from: M x C labels and evidence lie in memory


def fit(
    settings: ModelSettings,
    train: Dataset,
    *,
    validation: Dataset | Judge | None = None,
    training: Training | None = None,
    candidates_from: Model | Sequence[Model] | None = None,
    candidates: int = 200,
    initial: Model | Mapping[str, Model] | None = None,
    refit: bool = False,
    exclude_seen: bool = True,
    run_dir: str | Path | None = None,
    show: bool = False,
) -> Model:
    """Fit one model on the own events of ``train``.

    Early stopping watches ``training.metric`` on ``validation``, a part or a function from the model to its figures by
    name; without one, each user's last event (of labelled events a tenth: the newest, or without times a random one) is
    kept from training for it, and with ``refit`` the model is then fitted again on everything for the epochs found. With
    ``candidates_from`` a ranker first learns from the known history of ``train`` by sampled negatives, then from that
    retriever's candidates, or those of several, at the moments of ``train``'s own events, which must all be later than what
    any of them saw.
    Early stopping judges lists without what the user met before, or with ``exclude_seen=False`` lists that may repeat it;
    of sessions it asks before every event of theirs. With ``initial`` it goes
    on from a model of its kind, whose users and items are the first of ``train``'s, or starts from models by name.
    """
    name = type(settings).__name__
    wanted = None if settings.sampling is None else settings.sampling.kind
    if train.schema.is_tabular and wanted == "labels" and train.schema.label is None:
        raise TrainingError(
            f'{name} learns labels, and the rows have ratings. Set its loss to "mse", or name their label: schema.label.'
        )
    if train.schema.is_tabular and wanted not in ("labels", "ratings"):
        raise TrainingError(
            f"{name} recommends items, and the data is a table of rows without items. Fit a ranker that learns their labels, "
            "such as sl.fit(sl.DeepFM(), …), or name the column of the items: schema.item_id."
        )
    if settings.sampling is None:
        return _solve(settings, train, seed=(training or Training()).seed)
    sources = [candidates_from] if isinstance(candidates_from, Model) else list(candidates_from or ())
    for source in sources:
        source.trained_until.check_later(train, name=f"The retriever {source.name}")
    resolved = (training or Training()).resolve(settings.recommended)
    kind = with_labels(settings.sampling, train).kind
    if not sources:
        _check_targets(train, kind, name)
    usual = {"ratings": "rmse", "labels": "auc"}.get(kind)
    if usual is not None and not sources and resolved.metric == Training().metric:
        resolved = replace(resolved, metric=usual)
    if getattr(settings, "sparse", False):
        _check_sparse(name, resolved)
    folder = None if run_dir is None else Path(run_dir)
    part: Dataset = train
    held: Dataset | Judge | None = validation
    if validation is None and resolved.patience is not None:
        part, held = _hold_labels(train, seed=resolved.seed) if kind == "labels" else hold_last(train)
    model = _fit_part(settings, part, held, resolved, sources, candidates, initial, exclude_seen, folder, show)
    if refit and validation is None and held is not None:
        assert model.log is not None
        found = replace(resolved, epochs=model.log.best_epoch, patience=None)
        again = None if folder is None else folder / "refit"
        model = _fit_part(settings, train, None, found, sources, candidates, initial, exclude_seen, again, show)
    # What was kept for validation has been looked at as well, and is history when the model serves.
    return replace(model, dataset=train, trained_until=TrainedUntil.of(train))


def _check_targets(train: Dataset, kind: str, name: str) -> None:
    """Refuse ratings that are not there, and labels of one kind: there is nothing to tell apart."""
    if kind == "ratings" and train.events.ratings is None:
        raise TrainingError(f"{name} learns ratings, and the events have none. Name their column: schema.rating.")
    liked = train.targets().liked
    if kind == "labels" and liked is not None and len(liked) and bool((liked == liked[0]).all()):
        advice = "Give a table with both, such as clicks and impressions that were not clicked"
        if not train.schema.is_tabular:
            advice += "; or set schema.label = None, and negatives are sampled"
        raise TrainingError(
            f"All {len(liked):,} events to learn from are labelled {int(liked[0])}, so there is nothing to tell apart. {advice}."
        )


def _hold_labels(train: Dataset, *, seed: int) -> tuple[Dataset, Dataset]:
    """A part to learn labels from, and a tenth to judge by: the newest events, or without times random ones."""
    if train.events.times is not None:
        return hold_back(train)
    part, _, held = split_random(train, valid=0, test=0.1, seed=seed)
    return part, held


def _check_sparse(name: str, training: Training) -> None:
    """Sparse gradients touch the rows of a batch alone: refuse what needs all of them."""
    if training.optimizer == "adam":
        raise SettingsError(
            f"{name}.sparse gradients are not for Adam, which moves every row at every step. "
            'Set training.optimizer = "adagrad", with a learning_rate of about 0.05, or sparse = false.'
        )
    if training.clip_norm is not None:
        raise SettingsError(
            f"{name}.sparse gradients cannot be clipped. Set training.clip_norm to None, or sparse = false."
        )
    if training.optimizer == "sgd" and training.weight_decay:
        raise SettingsError(
            f"{name}.sparse gradients and training.weight_decay do not go together with SGD. Leave one out, or use Adagrad."
        )


def _solve(settings: ModelSettings, train: Dataset, *, seed: int) -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = settings.build(train.catalogue())
        if not isinstance(network, Solver):
            raise TypeError(f"{type(settings).__name__} has no sampling, and its network no solve()")
        network.solve(train.positives().events)
    return Model(settings, network.eval(), train, train.catalogue(), TrainedUntil.of(train))


def _fit_part(
    settings: ModelSettings,
    train: Dataset,
    validation: Dataset | Judge | None,
    training: Training,
    sources: list[Model],
    candidates: int,
    initial: Model | Mapping[str, Model] | None,
    exclude_seen: bool,
    run_dir: Path | None,
    show: bool,
) -> Model:
    catalogue = train.catalogue()
    if sources:
        catalogue = catalogue.with_evidence(evidence_width(len(sources)))
    check_memory(settings, catalogue, training, train, is_validated=validation is not None)
    with torch.random.fork_rng():
        torch.manual_seed(training.seed)
        network = settings.build(catalogue)
    assert isinstance(network, Trainable | Grown)
    if sources and not isinstance(network, Ranker):
        raise SettingsError(
            f"{type(settings).__name__} is a retriever: it does not learn from candidate lists. Fit it by itself, and give it "
            "to Recommender(…, ranker=model), where it re-ranks by its own scores."
        )
    if initial is not None:
        start_from(network, initial)
    if isinstance(network, LearnsUsers):
        network.forget_users((train.events.lengths == 0).nonzero().squeeze(1))
    if isinstance(network, KnowsItemFeatures):
        network.forget_items((train.positives().events.item_counts()[1:] == 0).nonzero().squeeze(1) + 1)
    model = Model(settings, network, train, catalogue, TrainedUntil.of(train), training)
    sampling, batch_size = settings.sampling, training.batch_size
    assert sampling is not None
    assert batch_size is not None
    funnel = None  # what the model ranks in; it holds the network, so it follows what the network learns
    if sources:
        funnel = Funnel.of(sources, index=Exact(), ranker=model, candidates=candidates)
    validate = None if validation is None else validator(model, validation, training.metric, funnel, exclude_seen)
    if funnel is None:
        batches = training_batches(train, sampling, batch_size=batch_size, seed=training.seed)
        _count(network, catalogue, batches)
        mined = MinedBatches(batches, network, seed=training.seed) if sampling.hard_negatives else batches
        return replace(model, log=_run(model, mined, validate, run_dir, show))
    known = train.before()
    if len(known.events):
        batches = training_batches(known, sampling, batch_size=batch_size, seed=training.seed)
        _count(network, catalogue, batches)
        if isinstance(network, Trainable):
            _run(model, batches, validate, None if run_dir is None else run_dir / "pairs", show)
    lists = _candidate_lists(funnel, train, batch_size=batch_size, seed=training.seed)
    return replace(model, log=_run(model, lists, validate, None if run_dir is None else run_dir / "lists", show))


def _count(network: Trainable | Grown, catalogue: Catalogue, batches: TrainingBatches) -> None:
    """Show all that will be learnt from to a network that counts combinations of it, where any are asked for."""
    if catalogue.crosses and isinstance(network, CountsEvents):
        for step in range(batches.num_steps):
            network.count(batches.get(0, step))


def _run(
    model: Model,
    batches: TrainingBatches | ListBatches | MinedBatches,
    validate: Validate | None,
    run_dir: Path | None,
    show: bool,
) -> TrainingLog:
    if batches.num_examples == 0:
        what = "sequence with a liked event after another" if isinstance(batches, SequenceBatches) else "liked event"
        raise TrainingError(
            f"There is nothing to learn from: no {what} in this part. Check schema.positive and the split."
        )
    assert model.training is not None
    if isinstance(model.network, Grown):
        return grow(model.network, batches, training=model.training, validate=validate)
    identity = {
        "settings": repr(model.settings),
        "examples": batches.num_examples,
        "events": model.trained_until.extent,
    }
    return run_loop(
        model.network,
        batches,
        settings=model.training,
        validate=validate,
        run_dir=run_dir,
        show=show,
        identity=identity,
        ahead=not isinstance(batches, MinedBatches),
    )


def _candidate_lists(funnel: Funnel, train: Dataset, *, batch_size: int, seed: int) -> ListBatches:
    """The sources' candidates at the moments of the part's own events; a list that misses every positive is left out."""
    moments = Moments(train, most=MOST_LISTS, seed=seed)
    requests = moments.requests(history=funnel.history)
    found: list[Candidates] = []
    labels: list[Tensor] = []  # (B, C)
    for block in blocks(len(moments), 1024):
        seen, following = moments.seen_and_next(block)
        candidates = funnel.retrieve(requests.take(block), funnel.candidates, filter=seen)
        found.append(candidates)
        labels.append((candidates.items[:, :, None] == following[:, None, :]).any(2) & candidates.valid)
    lists, wanted = _join(found), torch.cat(labels)
    useful = wanted.any(1).nonzero().squeeze(1)
    if not len(useful):
        retrievers = ", ".join(source.model.name for source in funnel.sources)
        raise TrainingError(
            f"None of {len(moments)} events is among the {funnel.candidates} candidates of {retrievers}: the ranker has nothing to "
            "learn from. Ask for more candidates, or fit a better retriever."
        )
    rows = max(batch_size // 16, 32)  # a list has hundreds of items
    assert funnel.ranker is not None
    known = requests.take(useful).latest(funnel.ranker.history)
    return ListBatches(known, lists.take(useful), wanted[useful].float(), batch_size=rows, seed=seed)


def _join(parts: list[Candidates]) -> Candidates:
    evidence = [part.evidence for part in parts if part.evidence is not None]
    return Candidates(
        torch.cat([p.items for p in parts]),
        torch.cat([p.scores for p in parts]),
        torch.cat(evidence) if evidence else None,
    )
