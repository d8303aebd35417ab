"""Encoded data sets to named tensors and back, as a bundle keeps them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from shortlist.contracts import FeatureLayout, Features, Interactions, Ragged
from shortlist.data.dataset import Dataset


def feature_tables(dataset: Dataset) -> dict[str, Features | None]:
    """The encoded features by whose they are."""
    return {"user": dataset.user_features, "item": dataset.item_features, "context": dataset.context}


def dataset_tensors(dataset: Dataset) -> dict[str, Tensor]:
    """All tensors of a data set, by name."""
    tensors = event_tensors(dataset)
    for name in ("user", "item"):
        features = feature_tables(dataset)[name]
        if features is not None:
            tensors |= _feature_tensors(features, name)
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
    tensors = {f"{name}_categorical": features.categorical, f"{name}_numeric": features.numeric}
    for number, ragged in enumerate(features.multi):
        tensors |= {f"{name}_multi{number}_values": ragged.values, f"{name}_multi{number}_offsets": ragged.offsets}
    return {key: value.contiguous() for key, value in tensors.items() if value is not None}


def features_from(layout: dict[str, Any], arrays: dict[str, Tensor], name: str) -> Features:
    """The features called ``name`` among the arrays, given their :func:`layout_dict`."""
    sizes = FeatureLayout(tuple(layout["categorical"]), tuple(layout["multi"]), layout["numeric"])
    multi = tuple(
        Ragged(arrays[f"{name}_multi{n}_values"], arrays[f"{name}_multi{n}_offsets"]) for n in range(len(sizes.multi))
    )
    return Features(sizes, arrays.get(f"{name}_categorical"), multi, arrays.get(f"{name}_numeric"))


def layout_dict(features: Features | None) -> dict[str, Any] | None:
    """The sizes of features, JSON-ready."""
    if features is None:
        return None
    layout = features.layout
    return {"categorical": list(layout.categorical), "multi": list(layout.multi), "numeric": layout.numeric}
