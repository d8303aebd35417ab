"""A funnel and later tables of items to a funnel that knows them, without training; the old one goes on as it was."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from shortlist.contracts import Retriever
from shortlist.data.dataset import Dataset
from shortlist.funnel import Funnel
from shortlist.growth import grown, larger
from shortlist.models.more import More, nowhere
from shortlist.sources import Source


def refreshed(funnel: Funnel, dataset: Dataset, *, touched: Tensor, removed: Tensor) -> Funnel:
    """The funnel for the items of ``dataset``: the ``touched`` ones (N,) are new or changed, the ``removed`` ones (M,) gone.

    Items that were removed and are touched again come back.
    """
    known = funnel.retriever.catalogue.num_items
    offered = torch.ones(dataset.num_items + 1, dtype=torch.bool)
    if funnel.offered is not None:
        offered[: known + 1] = funnel.offered
    offered[touched] = True
    offered[removed] = False
    more = More(0, dataset.num_items - known, dataset.item_features)
    return replace(
        funnel,
        sources=tuple(_source(source, dataset, touched, removed, offered) for source in funnel.sources),
        ranker=None if funnel.ranker is None else grown(funnel.ranker, dataset),
        fallback=larger(funnel.fallback, more, lambda _: nowhere) if more.items else funnel.fallback,
        offered=None if bool(offered.all()) else offered,
    )


def _source(source: Source, dataset: Dataset, touched: Tensor, removed: Tensor, offered: Tensor) -> Source:
    model = grown(source.model, dataset)
    if source.index is None or not isinstance(model.network, Retriever):
        return replace(source, model=model)
    index = source.index.copy()
    gone = torch.unique(removed[index.holds(removed)])
    if len(gone):
        index.remove(gone)
    wanted = touched[offered[touched]]
    if len(wanted):
        with torch.inference_mode():
            vectors = model.network.embed_items(wanted)
        is_here = index.holds(wanted)
        if bool(is_here.any()):
            index.replace(wanted[is_here], vectors[is_here])
        if not bool(is_here.all()):
            index.add(wanted[~is_here], vectors[~is_here])
    return Source(model, index, source.index_settings)
