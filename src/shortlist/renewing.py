"""A model, a recommender or its bundle to a newer one: with new items, without training, or trained on with new events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from shortlist.bundle import checked_contents, read_bundle
from shortlist.contracts import Trainable
from shortlist.data.dataset import Dataset
from shortlist.data.grow import with_events
from shortlist.fitting import fit
from shortlist.growth import grown
from shortlist.model import Model
from shortlist.recommender import Recommender
from shortlist.training import Training
from shortlist.vocabulary import Id


def refresh_bundle(
    path: str | Path,
    items: Any = None,
    *,
    remove: Sequence[Id] = (),
    format: str | None = None,
    out: str | Path | None = None,
) -> Recommender:
    """The recommender in the folder ``path`` refreshed, see :meth:`~shortlist.Recommender.refresh`, and written.

    The new version is written whole beside the old one and takes its place by a rename, or goes to ``out``.
    """
    with checked_contents(path):
        known = Recommender.from_bundle(read_bundle(path))
    refreshed = known.refresh(items, remove=remove, format=format)
    refreshed.save(path if out is None else out)
    return refreshed


def fit_partial(
    model: Model,
    events: Any,
    *,
    items: Any = None,
    users: Any = None,
    validation: Dataset | None = None,
    training: Training | None = None,
    format: str | None = None,
    run_dir: str | Path | None = None,
    show: bool = False,
) -> Model:
    """``model`` trained on with later ``events``, and with the users and items that are new in them.

    What it knew before is the known history. New users and items begin as those of a fresh model; the optimiser begins
    anew. Without ``training`` the model's own settings serve. Models that are computed at once are computed anew from all
    events, and trees are grown anew from the new ones.
    """
    dataset = with_events(model.dataset, events, items=items, users=users, format=format)
    return _fitted_on(model, dataset, training, run_dir, show, validation=validation)


def resume(
    recommender: Recommender,
    events: Any,
    *,
    items: Any = None,
    users: Any = None,
    training: Training | None = None,
    format: str | None = None,
    run_dir: str | Path | None = None,
    show: bool = False,
) -> Recommender:
    """All models of ``recommender`` trained on with later ``events``, and a recommender of them with those histories.

    The ranker learns from the candidates of the models as they were before the new events, which they have not seen.
    """
    funnel = recommender.funnel
    dataset = with_events(recommender.dataset, events, items=items, users=users, format=format)
    folder = None if run_dir is None else Path(run_dir)
    models = [
        _fitted_on(source.model, dataset, training, None if folder is None else folder / f"retriever_{place}", show)
        for place, source in enumerate(funnel.sources, start=1)
    ]
    ranker = funnel.ranker
    if ranker is not None:
        before = [grown(source.model, dataset) for source in funnel.sources] if ranker.catalogue.evidence else []
        where = None if folder is None else folder / "ranker"
        ranker = _fitted_on(ranker, dataset, training, where, show, sources=before, candidates=funnel.candidates)
    settings = [source.index_settings for source in funnel.sources if source.index_settings is not None]
    renewed = Recommender(
        models,
        index=settings[0] if settings else "auto",
        ranker=ranker,
        candidates=funnel.candidates,
        diversity=funnel.selection.diversity,
        caps={cap.attribute: cap.most for cap in funnel.selection.caps},
        history=dataset,
    )
    if funnel.offered is None:
        return renewed
    withdrawn = (~funnel.offered).nonzero().squeeze(1)
    return renewed.refresh(remove=dataset.encoders.items.decode(withdrawn.numpy()).tolist())


def _fitted_on(
    model: Model,
    dataset: Dataset,
    training: Training | None,
    run_dir: str | Path | None,
    show: bool,
    *,
    validation: Dataset | None = None,
    sources: Sequence[Model] = (),
    candidates: int = 200,
) -> Model:
    """``model`` fitted on the own events of ``dataset``, from where it stood."""
    if model.settings.sampling is None:
        return fit(model.settings, replace(dataset, target_start=dataset.events.offsets[:-1]))
    return fit(
        model.settings,
        dataset,
        validation=validation,
        training=training if training is not None else model.training,
        candidates_from=list(sources) or None,
        candidates=candidates,
        initial=model if isinstance(model.network, Trainable) else None,
        run_dir=run_dir,
        show=show,
    )
