"""Encoded data sets to named tensors and back, as a bundle keeps them: what would lead outside itself is refused."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from shortlist.contracts import AnyFeatures, FeatureLayout, Features, Interactions
from shortlist.data.dataset import Dataset


def feature_tables(dataset: Dataset) -> dict[str, AnyFeatures | None]:
    """The encoded features by whose they are."""
    return {"user": dataset.user_features, "item": dataset.item_features, "context": dataset.context}


def dataset_tensors(dataset: Dataset) -> dict[str, Tensor]:
    """All tensors of a data set, by name."""
    tensors = event_tensors(dataset)
    for name in ("user", "item"):
        features = feature_tables(dataset)[name]
        if features is not None:
            tensors |= _feature_tensors(features.whole(), name)
    return tensors


def event_tensors(dataset: Dataset) -> dict[str, Tensor]:
    """Those of its events, with their context."""
    events = dataset.events
    columns = {name: getattr(events, name) for name in ("offsets", "items", "times", "ratings", "weights", "liked")}
    tensors = {f"events_{name}": column for name, column in columns.items() if column is not None}
    tensors["target_start"] = dataset.target_start
    return tensors | ({} if dataset.context is None else _feature_tensors(dataset.context, "context"))


def events_from(arrays: dict[str, Tensor], num_items: int, strict: bool) -> Interactions:
    """The events that :func:`event_tensors` named."""

    def column(name: str) -> Tensor | None:
        return arrays.get(f"events_{name}")

    offsets, items = arrays["events_offsets"], arrays["events_items"]
    return Interactions(
        offsets, items, num_items, column("times"), column("ratings"), column("weights"), column("liked"), strict
    )


def _feature_tensors(features: Features, name: str) -> dict[str, Tensor]:
    return {f"{name}_{key}": value.contiguous() for key, value in features.tensors().items()}


def features_from(layout: dict[str, Any], arrays: dict[str, Tensor], name: str) -> Features:
    """The features called ``name`` among the arrays, given their layout as a dictionary."""
    sizes: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in layout.items()}
    own = {key.removeprefix(f"{name}_"): value for key, value in arrays.items() if key.startswith(f"{name}_")}
    return Features.of_tensors(FeatureLayout(**sizes), own)


def check_dataset(dataset: Dataset, *, shared: bool = False) -> None:
    """Refuse arrays that do not fit together or lead outside each other, with a ValueError: what computes with them trusts them.

    ``shared`` says that the features of users and items are those of a data set that was checked already.
    """
    events, encoders = dataset.events, dataset.encoders
    rows, count = len(encoders.users) + 1, len(events)
    if events.num_items != len(encoders.items):
        raise ValueError(f"num_items is {events.num_items} for {len(encoders.items)} items")
    _check_offsets(events.offsets, "events_offsets", rows, count)
    _check_kind(events.items, "events_items", torch.int32, (count,))
    _check_range(events.items, "events_items", 0, events.num_items)
    columns = {"times": torch.int64, "ratings": torch.float32, "weights": torch.float32, "liked": torch.bool}
    for name, kind in columns.items():
        column = getattr(events, name)
        if column is not None:
            _check_kind(column, f"events_{name}", kind, (count,))
    _check_kind(dataset.target_start, "target_start", torch.int64, (rows,))
    _check_range(dataset.target_start, "target_start", events.offsets[:-1], events.offsets[1:])
    sizes = {"user": rows, "item": events.num_items + 1, "context": count}
    learnt = {"user": encoders.user_features, "item": encoders.item_features, "context": encoders.context}
    for name, features in feature_tables(dataset).items():
        if shared and name != "context":
            continue
        encoder = learnt[name]
        if (None if features is None else features.layout) != (None if encoder is None else encoder.layout):
            raise ValueError(f"the layout of the {name} features is not that of their encoder")
        if features is not None:
            _check_features(features.whole(), name, sizes[name])


def _check_features(features: Features, name: str, rows: int) -> None:
    layout = features.layout
    tables = {
        "categorical": (features.categorical, torch.int32, len(layout.categorical)),
        "numeric": (features.numeric, torch.float32, layout.numeric),
        "vectors": (features.vectors, torch.float32, sum(layout.vectors)),
    }
    for kind, (table, dtype, width) in tables.items():
        if width or table is not None:
            _check_kind(table, f"{name}_{kind}", dtype, (rows, width))
    first, fields = torch.tensor(layout.offsets), len(layout.categorical)
    last = first + torch.tensor(layout.categorical + layout.multi) - 1
    if features.categorical is not None:
        _check_range(features.categorical, f"{name}_categorical", first[:fields], last[:fields])
    for number, ragged in enumerate(features.multi):
        values = f"{name}_multi{number}_values"
        _check_kind(ragged.values, values, torch.int32, (ragged.values.numel(),))
        _check_range(ragged.values, values, first[fields + number], last[fields + number])
        _check_offsets(ragged.offsets, f"{name}_multi{number}_offsets", rows, len(ragged.values))
    for number, (table, side) in enumerate(zip(features.images, layout.images, strict=True)):
        _check_kind(table, f"{name}_image{number}", torch.uint8, (rows, 3, side, side))


def _check_kind(table: Tensor | None, name: str, kind: torch.dtype, shape: tuple[int, ...]) -> None:
    if table is None or table.dtype != kind or tuple(table.shape) != shape:
        found = "missing" if table is None else f"{table.dtype} of shape {tuple(table.shape)}"
        raise ValueError(f"{name} is {found} where {kind} of shape {shape} belongs")


def _check_range(table: Tensor, name: str, least: Tensor | int, most: Tensor | int) -> None:
    if bool((table < least).any()) or bool((table > most).any()):
        raise ValueError(f"{name} leads outside what it points into")


def _check_offsets(offsets: Tensor, name: str, rows: int, total: int) -> None:
    _check_kind(offsets, name, torch.int64, (rows + 1,))
    if int(offsets[0]) != 0 or int(offsets[-1]) != total or bool((offsets[1:] < offsets[:-1]).any()):
        raise ValueError(f"{name} do not rise from 0 to {total}")
