"""Every network that can be a graph of ONNX computes there what it computes in PyTorch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.contracts.models.table import GROWN, SOLVED, TRAINED
from torch import Tensor, nn

import shortlist as sl
from shortlist.bundle import Bundle, write_bundle
from shortlist.contracts import Candidates, ModelSettings, Ranker, Requests, Retriever
from shortlist.data import Dataset
from shortlist.errors import ExportError
from shortlist.exporting import export_bundle
from shortlist.model import Model, TrainedUntil

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnx", reason="the extra onnx is not installed")

# Models with users' and contexts' features of all kinds; those of the table have none but items' and users' plain ones.
RICH: dict[str, ModelSettings] = {
    "TwoTower": sl.TwoTower(embedding_dim=8, hidden=(8,), history=4, pooling="attention"),
    "DeepFM": sl.DeepFM(hidden=(8,), init_std=0.1),
    "DLRM": sl.DLRM(embedding_dim=4, top=(8,)),
    "DLRM, itself": sl.DLRM(embedding_dim=4, top=(8,), itself=True),
    "CrossAttention": sl.CrossAttention(embedding_dim=8, history=4),
}


@pytest.fixture(scope="module")
def many_kinds() -> Dataset:
    """Tags, vectors, numbers with gaps and pictures of users, items and visits."""
    draw = np.random.default_rng(0)
    tags = ["|".join(("a", "b", "c")[: size % 4]) for size in range(60)]
    numbers = [None if place % 5 == 0 else float(place) for place in range(60)]
    photos = [_picture(place) for place in range(8)]

    def columns(num: int, who: str) -> dict[str, Any]:
        return {
            f"{who}_tags": tags[:num],
            f"{who}_kind": [("x", "y", None)[place % 3] for place in range(num)],
            f"{who}_size": numbers[:num],
            f"{who}_vector": [draw.normal(size=3).tolist() for _ in range(num)],
            f"{who}_photo": [photos[place % 8] for place in range(num)],
        }

    kinds = {"tags": "multi", "kind": "categorical", "size": "numeric", "vector": "vector", "photo": "image"}
    features = [
        {"name": f"{who}_{name}", "kind": kind, "owner": who}
        | ({"separator": "|"} if kind == "multi" else {"size": 8} if kind == "image" else {})
        for who in ("user", "item", "context")
        for name, kind in kinds.items()
    ]
    events = pl.DataFrame(
        {"user_id": [f"u{place % 7}" for place in range(60)], "item_id": [place * 7 % 9 for place in range(60)]}
        | {"timestamp": range(60)}
        | columns(60, "context")
    )
    items = pl.DataFrame({"item_id": range(9)} | columns(9, "item"))
    users = pl.DataFrame({"user_id": [f"u{place}" for place in range(7)]} | columns(7, "user"))
    return sl.read_dataset(events, items=items, users=users, schema={"features": features})


def _picture(place: int) -> bytes:
    from tests.conftest import picture

    return picture((place * 30, 90, 255 - place * 30))


def _model(settings: ModelSettings, dataset: Dataset, *, evidence: int = 0) -> Model:
    torch.manual_seed(0)
    catalogue = dataset.catalogue().with_evidence(evidence)
    network = settings.build(catalogue).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return Model(settings, network, dataset, catalogue, TrainedUntil.of(dataset))


def _bundle(model: Model, folder: Path) -> Path:
    write_bundle(folder / "bundle", Bundle({"model": model.to_part()}, model.dataset))
    return folder / "bundle"


class _Graph:
    """A file in ONNX Runtime, as another program would use it."""

    def __init__(self, path: Path) -> None:
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.inputs = [each.name for each in self.session.get_inputs()]

    def __call__(self, tensors: Mapping[str, Tensor]) -> Tensor:
        (found,) = self.session.run(None, {name: tensors[name].numpy() for name in self.inputs})
        return torch.from_numpy(found)


def _asked(model: Model, lengths: list[int], steps: int) -> Requests:
    """Requests whose histories have these lengths, padded to ``steps``; the last one holds an unknown item."""
    dataset, draw = model.dataset, torch.Generator().manual_seed(len(lengths) + steps)
    num = len(lengths)
    users = torch.randint(dataset.num_users + 1, (num,), generator=draw)
    length = torch.tensor(lengths)
    history = torch.randint(1, dataset.num_items + 1, (num, steps), generator=draw)
    history = history.masked_fill(torch.arange(steps) >= length[:, None], 0)
    history[-1, 0] = 0
    context = None
    if dataset.context is not None:
        context = dataset.context.take(torch.randint(len(dataset.context), (num,), generator=draw))
    features = None if dataset.user_features is None else dataset.user_features.take(users)
    return Requests(users, history, length, user_features=features, context=context)


def _flat(requests: Requests) -> dict[str, Tensor]:
    found = {"user": requests.user, "history": requests.history, "length": requests.length}
    for owner, features in (("user", requests.user_features), ("context", requests.context)):
        if features is not None:
            found |= {f"{owner}_{name}": part for name, part in features.tensors().items()}
    return {name: part for name, part in found.items() if part is not None}


# Requests alone and together; histories shorter than the graph was written with, longer than the model's window, and none.
ASKED = [([3], 3), ([0], 1), ([1], 1), ([6, 6, 6, 6], 6), ([2, 0, 5, 1, 9], 9)]


def _compare(model: Model, folder: Path) -> None:
    network = model.network
    with torch.inference_mode():
        for lengths, steps in ASKED:
            requests = _asked(model, lengths, steps)
            tensors = _flat(requests)
            if isinstance(network, Ranker):
                items = torch.arange(len(lengths) * (steps + 2)).view(len(lengths), -1) % (model.dataset.num_items + 1)
                evidence = torch.stack((items.float().cos(), torch.arange(steps + 2.0).expand(items.shape)), dim=2)
                wanted = network.score(requests, Candidates(items, torch.zeros(items.shape), evidence))
                found = _Graph(folder / "model.onnx")(tensors | {"items": items, "evidence": evidence})
            else:
                assert isinstance(network, Retriever)
                wanted, found = network.embed_requests(requests), _Graph(folder / "model_users.onnx")(tensors)
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
        if isinstance(network, Retriever):
            items = torch.arange(model.dataset.num_items + 1)
            found = _Graph(folder / "model_items.onnx")({"items": items})
            torch.testing.assert_close(found, network.embed_items(items), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_a_graph_computes_the_same(name: str, dataset: Dataset, rich_dataset: Dataset, tmp_path: Path) -> None:
    model = _model(TRAINED[name], rich_dataset if "all kinds" in name else dataset, evidence=2)
    exported = export_bundle(_bundle(model, tmp_path), onnx=tmp_path / "onnx")
    _compare(model, exported.folder)
    for facts in exported.description["files"].values():
        assert facts["parity"]["relative_to_largest"] < 1e-5


@pytest.mark.parametrize("name", RICH)
def test_features_of_all_kinds_are_inputs(name: str, many_kinds: Dataset, tmp_path: Path) -> None:
    model = _model(RICH[name], many_kinds, evidence=2)
    exported = export_bundle(_bundle(model, tmp_path), onnx=tmp_path / "onnx")
    _compare(model, exported.folder)
    (facts,) = (each for file, each in exported.description["files"].items() if "items" not in file)
    stated = {each["name"]: each["shape"] for each in facts["inputs"]}
    assert stated["user_multi0_values"] == ["M of user_multi0"]
    assert stated["user_multi0_offsets"] == ["B + 1"]
    assert stated["context_image0"] == ["B", 3, 8, 8]
    columns = json.loads((exported.folder / "features.json").read_text())
    assert set(columns["user"]) == {
        each.removesuffix("_values") for each in stated if each.startswith("user_") and "offsets" not in each
    }
    assert columns["context"]["context_categorical"] == [
        {"name": "context_kind", "first_id": 0, "values": ["x", "y"], "rule": "values"}
    ]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("Popularity", "counted"), ("ItemKNN", "counted"), ("LightGBM", "forest"), ("CatBoost", "forest")],
)
def test_what_is_no_network_is_refused_with_its_reason(
    name: str, reason: str, dataset: Dataset, tmp_path: Path
) -> None:
    model = sl.fit((SOLVED | GROWN)[name], dataset)
    with pytest.raises(ExportError, match=rf"The bundle holds nothing that ONNX could\. {name}: .*{reason}"):
        export_bundle(_bundle(model, tmp_path), onnx=tmp_path / "onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]


def test_of_als_the_items_are_exported_and_the_users_are_not(dataset: Dataset, tmp_path: Path) -> None:
    model = sl.fit(SOLVED["ALS"], dataset)
    exported = export_bundle(_bundle(model, tmp_path), onnx=tmp_path / "onnx")
    assert list(exported.description["files"]) == ["model_items.onnx"]
    assert "least-squares" in exported.description["not_exported"][0]["reason"]
    found = _Graph(exported.folder / "model_items.onnx")({"items": torch.arange(1, 21)})
    torch.testing.assert_close(found, model.vectors())


def test_crossed_columns_have_no_graph(dataset: Dataset, tmp_path: Path) -> None:
    crossed = replace(dataset, schema=replace(dataset.schema, cross=(("user_id", "item_id"),)))
    with pytest.raises(ExportError, match="DeepFM: it has crossed columns"):
        export_bundle(_bundle(_model(sl.DeepFM(hidden=(8,)), crossed), tmp_path), onnx=tmp_path / "onnx")


@pytest.mark.parametrize("settings", [sl.DeepFM(hidden=(8,), init_std=0.1), sl.DLRM(embedding_dim=4, top=(8,))])
def test_a_table_of_rows_is_scored_row_by_row(settings: ModelSettings, tmp_path: Path) -> None:
    rows = pl.DataFrame(
        {
            "device": ["tv", "pc", "tv", "phone"] * 10,
            "price": [float(place) for place in range(40)],
            "click": [int(place % 3 == 0) for place in range(40)],
        }
    )
    model = _model(settings, sl.read_dataset(rows, schema={"label": "click"}))
    exported = export_bundle(_bundle(model, tmp_path), onnx=tmp_path / "onnx")
    assert exported.description["files"]["model.onnx"]["outputs"] == [
        {"name": "scores", "dtype": "float32", "shape": ["B"]}
    ]
    encoder = model.dataset.encoders.context
    assert encoder is not None
    encoded = encoder.encode(rows)
    found = _Graph(exported.folder / "model.onnx")(_flat(Requests(context=encoded)))
    torch.testing.assert_close(found, model.score(rows), rtol=1e-4, atol=1e-5)
