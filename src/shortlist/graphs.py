"""Modules of tensors to graphs of ONNX, and graphs to something that runs. Nothing here knows recommenders.

torch's older exporter writes them, in a tenth of a second; ``docs/decisions/0008`` says why.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import Tensor, nn

from shortlist.errors import MissingExtraError

OPSET = 17
OpenAxes = Mapping[str, Mapping[int, str]]  # of each tensor: the axes of any size, and their names


def write_graph(
    module: nn.Module, to: Path | IO[bytes], *, inputs: Mapping[str, Tensor], output: str, open_axes: OpenAxes
) -> None:
    """Write what ``module`` computes from ``inputs``, which are given to it in that order.

    It is written for axes of any size as it computes these inputs: no step of it may depend on values, and sizes of 1 may be
    taken as given.
    """
    optional_library("onnx")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, and of every size that is compared while it watches
        torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            cast("Any", str(to) if isinstance(to, Path) else to),
            input_names=list(inputs),
            output_names=[output],
            dynamic_axes={name: dict(axes) for name, axes in open_axes.items()},
            opset_version=OPSET,
            dynamo=False,
        )


class GraphSession:
    """A graph that ONNX Runtime runs, on one thread: the caller's."""

    def __init__(self, graph: Path | bytes) -> None:
        runtime = optional_library("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what goes wrong is raised, too
        content = str(graph) if isinstance(graph, Path) else graph
        self._session: Any = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.names = tuple(each.name for each in self._session.get_inputs())

    def __call__(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """What the graph puts out for the inputs that it reads."""
        (found,) = self._session.run(None, {name: inputs[name].numpy() for name in self.names})
        return torch.from_numpy(found)


@dataclass(frozen=True, slots=True)
class Difference:
    """How far numbers are from those that they should equal."""

    absolute: float  # the largest
    relative: float  # that, of the largest number

    @classmethod
    def of(cls, found: Tensor, wanted: Tensor) -> Difference:
        """Between tensors of the same shape; infinite where they are of different shapes or not finite."""
        if found.shape != wanted.shape or not bool(torch.isfinite(found).all()):
            return cls(float("inf"), float("inf"))
        if not wanted.numel():
            return cls(0.0, 0.0)
        largest = float((found - wanted).abs().max())
        return cls(largest, largest / max(float(wanted.abs().max()), 1e-6))

    def __or__(self, other: Difference) -> Difference:
        """The larger ones of both."""
        return Difference(max(self.absolute, other.absolute), max(self.relative, other.relative))

    def __str__(self) -> str:
        """In words."""
        return f"{self.absolute:.1e} at most, {self.relative:.1e} of the largest number"


def optional_library(name: str) -> Any:
    """The module ``name``, or a MissingExtraError that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            f'Graphs need {name}, which is not installed. Install it with: pip install "shortlist[onnx]".'
        ) from error
