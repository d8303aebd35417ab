"""A funnel and later tables of items to a funnel that knows them, without training; the old one goes on as it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from shortlist.contracts import Retriever
from shortlist.data.attributes import ItemColumns
from shortlist.data.dataset import Dataset
from shortlist.data.grow import noted, with_items
from shortlist.funnel import Funnel
from shortlist.growth import grown, larger
from shortlist.models.more import More, nowhere
from shortlist.query import item_index
from shortlist.sources import Source
from shortlist.vocabulary import Id


def refreshed(
    funnel: Funnel, dataset: Dataset, columns: ItemColumns, *, items: Any, remove: Sequence[Id], format: str | None
) -> tuple[Funnel, Dataset, ItemColumns]:
    """The funnel with its histories and the columns of its items, for new and changed ``items`` and without those to ``remove``.

    Items that were removed and are in the table again come back.
    """
    touched = torch.zeros(0, dtype=torch.int64)
    if items is not None:
        dataset, touched = with_items(dataset, items, format=format)
    removed = torch.unique(torch.tensor([item_index(dataset, item) for item in remove], dtype=torch.int64))
    if len(removed):
        notes = noted(dataset.notes, ("", " items withdrawn"), (len(removed),))
        dataset = replace(dataset, notes=notes)
    columns = columns.with_items(dataset, touched)
    return _larger(funnel, dataset, touched, removed, columns), dataset, columns


def _larger(funnel: Funnel, dataset: Dataset, touched: Tensor, removed: Tensor, columns: ItemColumns) -> Funnel:
    """The funnel for the items of ``dataset``: the ``touched`` ones (N,) are new or changed, the ``removed`` ones (M,) gone."""
    known = funnel.retriever.catalogue.num_items
    offered = torch.ones(dataset.num_items + 1, dtype=torch.bool)
    if funnel.offered is not None:
        offered[: known + 1] = funnel.offered
    offered[touched] = True
    offered[removed] = False
    more = More(0, dataset.num_items - known, dataset.item_features)
    caps = tuple(replace(cap, values=columns.values(cap.attribute)) for cap in funnel.selection.caps)
    return replace(
        funnel,
        selection=replace(funnel.selection, caps=caps),
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
    gone = removed[index.holds(removed)]
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
