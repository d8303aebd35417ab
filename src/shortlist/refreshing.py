"""A funnel and later tables of items to a funnel that knows them, without training; the old one goes on as it was."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from shortlist.contracts import Retriever
from shortlist.data.dataset import Dataset
from shortlist.funnel import Funnel
from shortlist.growth import grown, take_over
from shortlist.models.popularity import Popularity, PopularityNetwork
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
    fallback = PopularityNetwork(Popularity(), dataset.catalogue())
    take_over(fallback, funnel.fallback, None)
    return replace(
        funnel,
        sources=tuple(_source(source, dataset, touched, offered) for source in funnel.sources),
        ranker=None if funnel.ranker is None else grown(funnel.ranker, dataset),
        fallback=fallback.eval(),
        offered=None if bool(offered.all()) else offered,
    )


def _source(source: Source, dataset: Dataset, touched: Tensor, offered: Tensor) -> Source:
    model = grown(source.model, dataset)
    if source.index is None or not isinstance(model.network, Retriever):
        return replace(source, model=model)
    index = source.index.copy()
    here, _ = index.alive()
    gone = here[~offered[here]]
    if len(gone):
        index.remove(gone)
    wanted = touched[offered[touched]]
    if not len(wanted):
        return Source(model, index, source.index_settings)
    with torch.inference_mode():
        vectors = model.network.embed_items(wanted)
    is_here = torch.isin(wanted, here)
    if bool(is_here.any()):
        index.replace(wanted[is_here], vectors[is_here])
    if not bool(is_here.all()):
        index.add(wanted[~is_here], vectors[~is_here])
    return Source(model, index, source.index_settings)
