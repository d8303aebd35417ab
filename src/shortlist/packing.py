"""Encoded data sets to named tensors and back, as a bundle keeps them."""

from __future__ import annotations

from typing import Any

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
