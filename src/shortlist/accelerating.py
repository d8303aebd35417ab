"""A funnel to one that answers faster: what its networks compute from the rows that they look up runs in ONNX Runtime.

The tables stay in torch, and in memory that processes may share. This is the one place that decides what runs where.
"""

from __future__ import annotations

import copy
import io
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from shortlist.contracts import Ranker
from shortlist.errors import MissingExtraError
from shortlist.funnel import Funnel
from shortlist.graphs import Difference, GraphSession, write_graph
from shortlist.model import Model
from shortlist.rehearsing import made_up, sizes

TOLERANCE = 1e-4  # of the largest number, between ONNX Runtime and PyTorch
OPEN = "BTC"  # the letters of axes that are of any size
WRITTEN = {"num": 3, "steps": 5, "candidates": 7}  # what a graph is written with

log = logging.getLogger(__name__)


@runtime_checkable
class ReadsRows(Protocol):
    """A network that looks up rows of its tables, and then computes from them and its layers alone."""

    axes: Mapping[str, str]  # of each kind of rows, in the letters of contracts.py

    def from_rows(self, rows: Mapping[str, Tensor], /) -> Tensor: ...  # noqa: D102


def accelerated(funnel: Funnel) -> Funnel:
    """The same funnel with the networks that can in ONNX Runtime, each compared with PyTorch first.

    A network that cannot, or does not compute the same, stays as it is; the log says so and why. The graphs are of the weights
    as they are: make it anew when they change. A funnel that is refreshed from this one goes on with the same graphs, which hold
    layers and no tables; one that is trained on from it is a plain one again.
    """
    try:
        sources = tuple(replace(source, model=_accelerated(source.model)) for source in funnel.sources)
        ranker = None if funnel.ranker is None else _accelerated(funnel.ranker)
    except MissingExtraError as error:
        log.info("All networks run in PyTorch. %s", error)
        return funnel
    return replace(funnel, sources=sources, ranker=ranker)


def is_accelerated(model: Model) -> bool:
    """Whether the model's network computes in ONNX Runtime."""
    return isinstance(vars(model.network).get("from_rows"), _FromRows)


def _accelerated(model: Model) -> Model:
    if not isinstance(model.network, ReadsRows) or is_accelerated(model):
        return model
    started = time.perf_counter()
    model.network.eval()
    try:
        rows = _rows(model, WRITTEN)
        session = _session(model.network, rows)
        difference = _difference(session, model)
    except MissingExtraError:
        raise
    except Exception as error:  # whatever the libraries find wrong with it: PyTorch still computes
        log.warning("%s runs in PyTorch, for ONNX Runtime failed: %s", model.name, str(error).strip().split("\n")[0])
        return model
    if difference.relative > TOLERANCE:
        log.warning("%s runs in PyTorch, for ONNX Runtime computes something else: by %s.", model.name, difference)
        return model
    network = copy.copy(model.network)  # of the same tables and layers
    vars(network)["from_rows"] = _FromRows(
        session, rows.keys(), model.network.from_rows
    )  # before the class's own, on this copy alone
    log.info(
        "%s runs in ONNX Runtime, made in %.2f s; it differs from PyTorch by %s.",
        model.name,
        time.perf_counter() - started,
        difference,
    )
    return replace(model, network=network)


def _session(network: nn.Module, rows: Mapping[str, Tensor]) -> GraphSession:
    """What the network computes from such rows."""
    assert isinstance(network, ReadsRows)
    axes = {name: dict(enumerate(network.axes[name])) for name in rows}
    open_axes = {name: {place: letter for place, letter in own.items() if letter in OPEN} for name, own in axes.items()}
    graph = io.BytesIO()
    write_graph(_Computation(network, tuple(rows)), graph, inputs=rows, output="answer", open_axes=open_axes)
    return GraphSession(graph.getvalue())


@torch.inference_mode()
def _difference(session: GraphSession, model: Model) -> Difference:
    """How far the graph is from PyTorch, for a few requests of different sizes."""
    assert isinstance(model.network, ReadsRows)
    largest = Difference(0.0, 0.0)
    for size in sizes(model):
        rows = _rows(model, size)
        largest |= Difference.of(session(rows), model.network.from_rows(rows))
    return largest


def _rows(model: Model, size: Mapping[str, int]) -> dict[str, Tensor]:
    """The rows of requests that look like the model's."""
    network: Any = model.network
    requests, candidates = made_up(model, size["num"], steps=size["steps"], candidates=size["candidates"])
    if isinstance(model.network, Ranker):
        return dict(network.rows(requests, candidates.items, candidates.evidence))
    return dict(network.rows(requests))


class _FromRows:
    """A network's ``from_rows`` by a graph; rows of other kinds than the graph's, or none at all, go to the network's own."""

    def __init__(
        self, session: GraphSession, kinds: Iterable[str], own: Callable[[Mapping[str, Tensor]], Tensor]
    ) -> None:
        self.session, self.kinds, self.own = session, frozenset(kinds), own

    def __call__(self, rows: Mapping[str, Tensor]) -> Tensor:
        if rows.keys() != self.kinds or not all(part.numel() for part in rows.values()):
            return self.own(rows)
        return self.session(rows)


class _Computation(nn.Module):
    """``from_rows`` as a function of tensors in a fixed order."""

    def __init__(self, network: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *rows: Tensor) -> Tensor:
        assert isinstance(self.network, ReadsRows)
        return self.network.from_rows(dict(zip(self.names, rows, strict=True)))
