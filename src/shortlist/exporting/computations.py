"""What a network computes for serving, as functions of named tensors: what a graph is written of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shortlist.contracts import Candidates, FeatureLayout, Features, Ranker, Requests, Retriever
from shortlist.model import Model
from shortlist.models.als import ALSNetwork
from shortlist.models.fields import Fields
from shortlist.models.trees import Trees
from shortlist.rehearsing import made_up, sizes

Layouts = Mapping[str, FeatureLayout | None]  # of the owners "user" and "context"
SHAPES = {"user": ("B",), "history": ("B", "T"), "length": ("B",), "items": ("B", "C"), "evidence": ("B", "C")}


@dataclass(frozen=True, slots=True)
class Computation:
    """One part of a model: ``module`` is called with the tensors of ``example``, in that order."""

    role: str  # "user tower" or "ranker"
    module: nn.Module
    example: Mapping[str, Tensor]
    output: str
    output_shape: tuple[str | int, ...]
    cases: tuple[Mapping[str, Tensor], ...]  # to compare by


def obstacle(model: Model) -> str | None:
    """Why no graph can hold what the model computes of requests; None where one can."""
    network = model.network
    if any(fields.crosses is not None for fields in _fields(network)):
        return "it has crossed columns, which are found by a hash of both values, and ONNX has no operations for that"
    if isinstance(network, ALSNetwork):
        return (
            "a user's vector is the solution of a least-squares problem over the vectors of the history, and ONNX has no solver; "
            "its item vectors are exported"
        )
    if isinstance(network, Trees):
        return "it is a forest of trees and no network; LightGBM and CatBoost write files of their own"
    if not isinstance(network, Ranker | Retriever):
        return "it answers by what was counted in the events, and computes nothing of them"
    return None


def computation(model: Model) -> Computation:
    """What a retriever makes of requests, or a ranker of requests with items."""
    network = model.network.eval()
    for fields in _fields(network):
        fields.keep_items()
    layouts = {"user": model.catalogue.user_features, "context": model.catalogue.context}
    example, *cases = (_tensors(model, **size) for size in ({"num": 3, "steps": 5, "candidates": 7}, *sizes(model)))
    if isinstance(network, Ranker):
        shape: tuple[str | int, ...] = ("B", "C") if "items" in example else ("B",)
        module: nn.Module = _Scores(network, tuple(example), layouts)
        return Computation("ranker", module, example, "scores", shape, tuple(cases))
    assert isinstance(network, Retriever)
    vectors = _Vectors(network, tuple(example), layouts)
    width = network.embed_items(torch.zeros(1, dtype=torch.int64)).shape[1]
    return Computation("user tower", vectors, example, "vectors", ("B", width), tuple(cases))


def shape(name: str, tensor: Tensor) -> tuple[str | int, ...]:
    """The axes of an input: letters of contracts.py for those of any size, and sizes of the others."""
    if name in SHAPES:
        return SHAPES[name] + tuple(tensor.shape[len(SHAPES[name]) :])
    if name.endswith("_values"):
        return (f"M of {name.removesuffix('_values')}",)
    if name.endswith("_offsets"):
        return ("B + 1",)
    return ("B", *tensor.shape[1:])


def _fields(network: nn.Module) -> Iterator[Fields]:
    return (part for part in network.modules() if isinstance(part, Fields))


def _tensors(model: Model, *, num: int, steps: int, candidates: int) -> dict[str, Tensor]:
    requests, chosen = made_up(model, num, steps=steps, candidates=candidates)
    found: dict[str, Tensor] = {}
    parts = {
        "user": requests.user if model.dataset.num_users else None,
        "history": requests.history,
        "length": requests.length,
    }
    found |= {name: part for name, part in parts.items() if part is not None}
    for owner, features in (("user", requests.user_features), ("context", requests.context)):
        found |= {} if features is None else {f"{owner}_{name}": each for name, each in features.tensors().items()}
    if isinstance(model.network, Ranker) and model.dataset.num_items:
        found["items"] = chosen.items
        found |= {} if chosen.evidence is None else {"evidence": chosen.evidence}
    return found


def _requests(tensors: Mapping[str, Tensor], layouts: Layouts) -> Requests:
    """The requests whose parts have these names."""
    features: dict[str, Features | None] = {}
    for owner, layout in layouts.items():
        own = {name.removeprefix(f"{owner}_"): part for name, part in tensors.items() if name.startswith(f"{owner}_")}
        features[owner] = None if layout is None else Features.of_tensors(layout, own)
    user, history, length = (tensors.get(name) for name in ("user", "history", "length"))
    return Requests(user, history, length, user_features=features["user"], context=features["context"])


class _Vectors(nn.Module):
    def __init__(self, network: nn.Module, names: tuple[str, ...], layouts: Layouts) -> None:
        super().__init__()
        self.network, self.names, self.layouts = network, names, layouts

    def forward(self, *tensors: Tensor) -> Tensor:
        assert isinstance(self.network, Retriever)
        return self.network.embed_requests(_requests(dict(zip(self.names, tensors, strict=True)), self.layouts))


class _Scores(nn.Module):
    def __init__(self, network: nn.Module, names: tuple[str, ...], layouts: Layouts) -> None:
        super().__init__()
        self.network, self.names, self.layouts = network, names, layouts

    def forward(self, *tensors: Tensor) -> Tensor:
        assert isinstance(self.network, Ranker)
        given = dict(zip(self.names, tensors, strict=True))
        requests, items = _requests(given, self.layouts), given.get("items")
        if items is None:  # rows of a table, of which each is one
            nothing = torch.zeros(tensors[0].shape[0], 1, dtype=torch.int64)
            return self.network.score(requests, Candidates(nothing, nothing.float())).squeeze(1)
        return self.network.score(requests, Candidates(items, items.float(), given.get("evidence")))
