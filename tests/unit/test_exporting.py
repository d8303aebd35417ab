"""The folder of an export: enough to answer without this package, whole or not there at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import shortlist as sl
from shortlist.data import Dataset
from shortlist.errors import BundleError, ExportError, MissingExtraError
from shortlist.exporting import export_bundle, files, folder

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")

QUICK = sl.Training(epochs=2, batch_size=32, patience=None)


@pytest.fixture(scope="module")
def recommender(dataset: Dataset) -> sl.Recommender:
    trained = sl.train(
        dataset,
        retriever=sl.SASRec(embedding_dim=8, history=6),
        ranker=sl.DLRM(embedding_dim=4, top=(8,)),
        index=sl.Exact(),
        candidates=6,
        training=QUICK,
    )
    return trained.with_data(history=dataset).refresh(remove=[7])


@pytest.fixture(scope="module")
def bundle(recommender: sl.Recommender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "shop.bundle"
    recommender.save(path)
    return path


def _answers(folder: Path, user: str, events: list[int], k: int) -> tuple[list[int], list[float]]:
    """The best items of a user by the files alone: numpy, Parquet and ONNX Runtime."""
    stated = json.loads((folder / "export.json").read_text())
    items, users = (pl.read_parquet(folder / stated["ids"][kind]["file"]) for kind in ("items", "users"))
    index_of = dict(zip(items["id"], items["index"], strict=True))
    (row,) = users.filter(pl.col("id") == user).to_dicts()
    given: dict[str, Any] = {
        "user": np.array([row["index"]]),
        "history": np.array([[index_of.get(item, 0) for item in events[-6:]]]),
        "user_categorical": np.array([row["user_categorical"]], dtype=np.int32),
        "user_numeric": np.array([row["user_numeric"]], dtype=np.float32),
    }

    def run(file: str) -> Any:
        session = onnxruntime.InferenceSession(str(folder / file), providers=["CPUExecutionProvider"])
        return session.run(None, {each["name"]: given[each["name"]] for each in stated["files"][file]["inputs"]})[0]

    given["items"] = items["index"].to_numpy()
    scores = run("model_users.onnx") @ run("model_items.onnx").T  # (1, I)
    seen = {index_of[item] for item in events if item in index_of}
    allowed = items["offered"].to_numpy() & ~np.isin(items["index"].to_numpy(), list(seen))
    order = np.argsort(np.where(allowed, -scores[0], np.inf), kind="stable")
    order = order[: min(stated["funnel"]["candidates"], int(allowed.sum()))]
    given["items"] = items["index"].to_numpy()[order][None]
    rank = np.arange(len(order), dtype=np.float32)
    given["evidence"] = np.stack((scores[0][order], rank), axis=1)[None].astype(np.float32)
    ranked = run("ranker.onnx")[0]
    best = np.argsort(-ranked, kind="stable")[:k]
    return items["id"].to_numpy()[order][best].tolist(), ranked[best].tolist()


def test_the_files_alone_give_the_recommenders_answers(
    recommender: sl.Recommender, bundle: Path, dataset: Dataset, tmp_path: Path
) -> None:
    export_bundle(bundle, onnx=tmp_path / "onnx")
    for user in dataset.encoders.users.ids.tolist():
        row = int(dataset.encoders.users.encode([user])[0])
        events = dataset.encoders.items.decode(dataset.events.take_rows(torch.tensor([row])).items.numpy()).tolist()
        wanted = recommender.recommend([user], k=5)
        found, scores = _answers(tmp_path / "onnx", user, events, 5)
        assert found == wanted["item_id"].to_list()
        assert scores == pytest.approx(wanted["score"].to_list(), rel=1e-4, abs=1e-5)
        assert 7 not in found


def test_the_description_names_every_file_and_what_was_left_out(bundle: Path, tmp_path: Path) -> None:
    exported = export_bundle(bundle, onnx=tmp_path / "onnx")
    stated = json.loads((tmp_path / "onnx" / "export.json").read_text())
    assert stated == exported.description
    on_disk = {path.name: path for path in (tmp_path / "onnx").iterdir() if path.name != "export.json"}
    assert stated["written"].keys() == on_disk.keys()
    for name, path in on_disk.items():
        content = path.read_bytes()
        assert stated["written"][name] == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert {name: facts["role"] for name, facts in stated["files"].items()} == {
        "model_users.onnx": "user tower", "model_items.onnx": "item tower", "ranker.onnx": "ranker",
    }  # fmt: skip
    for name, facts in stated["files"].items():
        graph = onnx.load(str(on_disk[name]))
        assert [each.version for each in graph.opset_import if not each.domain] == [facts["opset"]]
        assert [each.name for each in graph.graph.input] == [each["name"] for each in facts["inputs"]]
    assert stated["files"]["ranker.onnx"]["link"] == "sigmoid"
    assert [each["model"] for each in stated["not_exported"]] == ["Popularity"]
    manifest = (bundle / "bundle.json").read_bytes()
    assert stated["bundle"]["manifest_sha256"] == hashlib.sha256(manifest).hexdigest()


def test_an_export_takes_the_place_of_an_older_one_and_of_nothing_else(bundle: Path, tmp_path: Path) -> None:
    export_bundle(bundle, onnx=tmp_path / "onnx")
    (tmp_path / "onnx" / "left.over").touch()
    export_bundle(bundle, onnx=tmp_path / "onnx")
    assert not (tmp_path / "onnx" / "left.over").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(ExportError, match="mine exists and is not an export"):
        export_bundle(bundle, onnx=tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_fails_leaves_nothing_behind(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_bundle(bundle, onnx=tmp_path / "onnx")
    before = {path.name: path.read_bytes() for path in (tmp_path / "onnx").iterdir()}

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder, "write_ids", full)
    for place in ("onnx", "elsewhere"):
        with pytest.raises(ExportError, match="No space left on device"):
            export_bundle(bundle, onnx=tmp_path / place)
    assert {path.name for path in tmp_path.iterdir()} == {"onnx"}
    assert {path.name: path.read_bytes() for path in (tmp_path / "onnx").iterdir()} == before


def test_a_graph_that_differs_too_much_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ExportError, match=r"model_users\.onnx does not compute what PyTorch does: it differs by .* Nothing"
    ):
        export_bundle(bundle, onnx=tmp_path / "onnx", tolerance=0.0)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_bundle_and_a_missing_library_are_named(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BundleError, match="There is no bundle"):
        export_bundle(tmp_path / "nothing", onnx=tmp_path / "onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r'pip install "shortlist\[onnx\]"'):
        export_bundle(bundle, onnx=tmp_path / "onnx")
    assert list(tmp_path.iterdir()) == []


def test_large_tables_are_in_a_file_beside_the_graph(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = export_bundle(bundle, onnx=tmp_path / "small")
    monkeypatch.setattr(files, "LARGEST_FILE", 100)
    large = export_bundle(bundle, onnx=tmp_path / "large")
    assert large.description["files"]["model_items.onnx"]["data_files"] == ["model_items.onnx.data"]
    tables = [
        onnxruntime.InferenceSession(str(each.folder / "model_items.onnx")).run(None, {"items": np.arange(21)})[0]
        for each in (small, large)
    ]
    assert np.array_equal(*tables)


def test_a_graph_written_in_several_files_becomes_two(tmp_path: Path) -> None:
    """As torch writes those above 2 GB."""
    apart = tmp_path / "apart"
    apart.mkdir()
    table = onnx.numpy_helper.from_array(np.arange(800, dtype=np.float32).reshape(100, 8), "table")
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["N"]) for name in ("items", "unread")]
    output = onnx.helper.make_tensor_value_info("vectors", onnx.TensorProto.FLOAT, ["N", 8])
    lookup = onnx.helper.make_node("Gather", ["table", "items"], ["vectors"])
    graph = onnx.helper.make_graph([lookup], "some", values, [output], [table])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(apart / "a.onnx"), save_as_external_data=True, location="table", size_threshold=0)
    assert files._bring_together(apart / "a.onnx", tmp_path / "a.onnx") == {"items"}
    assert {path.name for path in tmp_path.iterdir()} == {"apart", "a.onnx", "a.onnx.data"}
    session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"))
    assert session.run(None, {"items": np.array([99])})[0][0, 0] == 792
