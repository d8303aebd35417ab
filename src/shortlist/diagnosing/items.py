"""A retriever's item vectors to a map of the most popular items, coloured by a feature of theirs."""

from __future__ import annotations

import torch
from torch import Tensor

from shortlist.data.categories import Known
from shortlist.data.dataset import Dataset
from shortlist.evaluation.diagnosis import ItemMap
from shortlist.evaluation.projection import principal_plane
from shortlist.evaluation.segments import item_segments
from shortlist.features import Ragged
from shortlist.funnel import Funnel

MOST_ITEMS = 2_000
MOST_GROUPS = 7  # colours that can be told apart; the rest is one more group


def item_map(funnel: Funnel, known: Dataset, reasons: dict[str, str]) -> ItemMap | None:
    """The plane of the vectors at length 1, so that near points are items of a similar direction, that is of a similar taste."""
    model = funnel.embedding
    if model is None:
        reasons["items"] = f"{funnel.retriever.name} has no item vectors."
        return None
    dataset = model.dataset
    counts = known.positives().events.item_counts()
    shown = counts[1:].argsort(descending=True, stable=True)[:MOST_ITEMS] + 1
    points, share = principal_plane(torch.nn.functional.normalize(model.vectors()[shown - 1], dim=1))
    by, group, groups = _groups(dataset, shown, counts)
    return ItemMap(
        x=tuple(points[:, 0].tolist()),
        y=tuple(points[:, 1].tolist()),
        group=tuple(group.tolist()),
        titles=titles(dataset, shown),
        groups=groups,
        by=by,
        share=share,
        num_items=dataset.num_items,
    )


def titles(dataset: Dataset, items: Tensor) -> tuple[str, ...]:
    """The titles of ``items`` (N,), or their ids where there are none."""
    known = dataset.encoders.titles
    if known is None:
        return tuple(str(item) for item in dataset.encoders.items.decode(items.numpy()).tolist())
    return tuple(known[item - 1] for item in items.tolist())


def _groups(dataset: Dataset, items: Tensor, counts: Tensor) -> tuple[str, Tensor, tuple[str, ...]]:
    """What the groups are, the group (N,) of each of ``items``, and the groups' names, the largest first, others last."""
    encoder, features = dataset.encoders.item_features, dataset.item_features
    if encoder is not None and features is not None:
        single = len(features.layout.categorical)
        shown = features.only("categorical", "multi").take(items)
        for place, (feature, known) in enumerate(zip(encoder.fields(), encoder.categories, strict=True)):
            if not isinstance(known, Known):
                continue
            if place < single:
                assert shown.categorical is not None
                values = shown.categorical[:, place].long()
            else:
                values = _first_values(shown.multi[place - single], features.layout.offsets[place])
            sizes = torch.bincount(values - features.layout.offsets[place], minlength=known.size)
            num_used = int((sizes[1:] > 0).sum())
            if 2 <= num_used <= len(items) // 4:
                largest = sizes[1:].argsort(descending=True, stable=True)[: min(MOST_GROUPS, num_used)] + 1
                group = torch.full((known.size,), len(largest))
                group[largest] = torch.arange(len(largest))
                names = tuple(known.values.decode(largest.numpy()).tolist())
                what = feature.name if place < single else f"first of {feature.name}"
                return what, group[values - features.layout.offsets[place]], (*names, "other")
    segments = item_segments(counts)
    group = torch.stack([which[items] for which in segments.values()], dim=1).int().argmax(1)
    return "popularity", group, tuple(segments)


def _first_values(field: Ragged, offset: int) -> Tensor:
    """The first value of each row of a multi-hot field, its unknown one where there is none."""
    lengths = field.offsets[1:] - field.offsets[:-1]
    padded = torch.cat((field.values.long(), torch.tensor([offset])))
    return torch.where(lengths > 0, padded[field.offsets[:-1]], offset)
