"""Computations and item vectors to files, each with what is worth knowing of it; every graph is compared with PyTorch."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shortlist.contracts import Retriever
from shortlist.errors import ExportError
from shortlist.exporting.computations import Computation, computation, shape
from shortlist.graphs import OPSET, Difference, GraphSession, optional_library, write_graph
from shortlist.model import Model, item_vectors

ITEMS_COMPARED = 4096
LARGEST_FILE = 2**30  # bytes of vectors up to which the file of their graph holds them: such files end at 2 GB
IR_VERSION = 8  # the format of files that goes with the opset

Facts = dict[str, Any]


def write_computation(model: Model, path: Path, *, tolerance: float) -> Facts:
    """Write what the model computes of requests, and describe it."""
    part = computation(model)
    shapes = {name: shape(name, tensor) for name, tensor in part.example.items()} | {part.output: part.output_shape}
    open_axes = {
        name: {place: size for place, size in enumerate(sizes) if isinstance(size, str)}
        for name, sizes in shapes.items()
    }
    with tempfile.TemporaryDirectory(
        dir=path.parent
    ) as apart:  # of a large one the tables are files with names of their own
        try:
            write_graph(
                part.module, Path(apart) / path.name, inputs=part.example, output=part.output, open_axes=open_axes
            )
        except (RuntimeError, ValueError, TypeError) as error:
            raise ExportError(
                f"{path.name} ({model.name}) cannot be written: {str(error).strip().splitlines()[0]}. Nothing was exported."
            ) from error
        used = _bring_together(Path(apart) / path.name, path)
    return _described(model, part, shapes, path, used, tolerance)


@torch.inference_mode()
def write_items(model: Model, path: Path, *, tolerance: float) -> Facts:
    """Write the vectors of all items as a table with a lookup, and describe it."""
    assert isinstance(model.network, Retriever)
    num = model.dataset.num_items
    unknown = model.network.embed_items(torch.zeros(1, dtype=torch.int64))
    table = torch.cat((unknown, item_vectors(model.network, num)))  # (I+1, D)
    _write_lookup(path, table)
    some = torch.randint(num + 1, (ITEMS_COMPARED,), generator=torch.Generator().manual_seed(0))
    found = GraphSession(path)({"items": some})
    difference = Difference.of(found, model.network.embed_items(some))
    _check(difference, path, tolerance)
    meaning = "indices of items, see ids.items; 0 is the unknown one"
    return {
        "role": "item tower",
        "inputs": [{"name": "items", "dtype": "int64", "shape": ["N"], "meaning": meaning}],
        "outputs": [{"name": "vectors", "dtype": "float32", "shape": ["N", table.shape[1]]}],
        **_facts(model, path, difference, 1),
    }


def _described(
    model: Model, part: Computation, shapes: Mapping[str, Any], path: Path, used: set[str], tolerance: float
) -> Facts:
    session, difference = GraphSession(path), Difference(0.0, 0.0)
    with torch.inference_mode():
        for case in part.cases:
            difference |= Difference.of(session(case), part.module(*case.values()))
    _check(difference, path, tolerance)
    inputs = [
        {"name": name, "dtype": _dtype(tensor), "shape": list(shapes[name]), "meaning": _meaning(name, model)}
        for name, tensor in part.example.items()
        if name in used
    ]
    link = getattr(model.network, "link", None)
    return {
        "role": part.role,
        **({} if link is None else {"link": link}),
        "inputs": inputs,
        "outputs": [{"name": part.output, "dtype": "float32", "shape": list(part.output_shape)}],
        **_facts(model, path, difference, len(part.cases)),
    }


def _facts(model: Model, path: Path, difference: Difference, cases: int) -> Facts:
    return {
        "model": model.name,
        "opset": OPSET,
        "parity": {
            "largest_difference": difference.absolute,
            "relative_to_largest": difference.relative,
            "cases": cases,
        },
        "data_files": sorted(each.name for each in path.parent.glob(f"{path.name}.*")),
    }


def _check(difference: Difference, path: Path, tolerance: float) -> None:
    if difference.relative > tolerance:
        raise ExportError(
            f"{path.name} does not compute what PyTorch does: it differs by {difference}, and {tolerance:.0e} of that is allowed. "
            "Nothing was exported."
        )


def _bring_together(written: Path, path: Path) -> set[str]:
    """Move a graph to its place, without inputs that it does not read, and what is in files beside it to one; the other inputs."""
    onnx = optional_library("onnx")
    is_large = any(each != written for each in written.parent.iterdir())
    model = onnx.load(str(written))
    read = {name for node in model.graph.node for name in node.input}
    for each in [each for each in model.graph.input if each.name not in read]:
        model.graph.input.remove(each)
    beside = {"save_as_external_data": True, "location": f"{path.name}.data"} if is_large else {}
    onnx.save(model, str(path), **beside)
    return {each.name for each in model.graph.input}


def _write_lookup(path: Path, table: Tensor) -> None:
    onnx = optional_library("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    if table.numel() * table.element_size() > LARGEST_FILE:
        values = kinds(name="table", dims=table.shape, data_type=kinds.FLOAT, data_location=kinds.EXTERNAL)
        values.external_data.add(key="location", value=f"{path.name}.data")
        table.numpy().tofile(path.with_name(f"{path.name}.data"))
    else:
        values = onnx.numpy_helper.from_array(table.numpy(), "table")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "items"], ["vectors"], axis=0)],
        "items",
        [helper.make_tensor_value_info("items", kinds.INT64, ["N"])],
        [helper.make_tensor_value_info("vectors", kinds.FLOAT, ["N", table.shape[1]])],
        [values],
    )
    path.write_bytes(
        helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        ).SerializeToString()
    )


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _meaning(name: str, model: Model) -> str:
    fixed = {
        "user": "indices of users, see ids.users; 0 is an unknown one",
        "history": "indices of the items that each user took, oldest first, padded on the right with 0; T from 1. "
        f"The funnel gives the last {model.history}",
        "length": "how many events each history has, unknown items among them, at most T",
        "items": "indices of the items to score, see ids.items; 0 is an empty slot, whose score means nothing",
        "evidence": "what the sources say of the items, see funnel.evidence",
    }
    owner, _, rest = name.partition("_")
    return fixed.get(name, f"encoded {rest} columns of the {owner}, see features.json")
