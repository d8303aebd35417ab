"""The shop's bundle as files for other programs, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import shortlist as sl
from shortlist.errors import ExportError

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnx", reason="the extra onnx is not installed")


def test_export_writes_graphs_and_says_what_it_left_out(shop_files: Any, run: Any, tmp_path: Path) -> None:
    result = run("export", shop_files.bundle, "--onnx", tmp_path / "onnx")
    assert result.exception is None, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[:4] for line in lines[:3]] == [
        ["model_users.onnx", "user", "tower", "of"],
        ["model_items.onnx", "item", "tower", "of"],
        ["ranker.onnx", "ranker", "of", "NeuMF,"],
    ]
    assert lines[3].startswith("not exported: fallback (Popularity), for it answers by what was counted")
    assert lines[4] == f"Wrote {tmp_path / 'onnx'}: opset 17, see export.json"
    as_json = run("export", shop_files.bundle, "--onnx", tmp_path / "onnx", "--json")
    stated = json.loads(as_json.stdout)
    assert stated.pop("folder") == str(tmp_path / "onnx")
    assert stated == json.loads((tmp_path / "onnx" / "export.json").read_text())


def test_exported_item_vectors_are_the_models(shop_files: Any, run: Any, tmp_path: Path) -> None:
    assert run("export", shop_files.bundle, "--onnx", tmp_path / "onnx").exception is None
    items = pl.read_parquet(tmp_path / "onnx" / "items.parquet")
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / "model_items.onnx"))
    (vectors,) = session.run(None, {"items": items["index"].to_numpy()})
    recommender = sl.load(shop_files.bundle)
    assert items["id"].to_list() == recommender.dataset.encoders.items.ids.tolist()
    assert np.array_equal(vectors, recommender.funnel.retriever.vectors().numpy())


def test_export_does_not_touch_a_folder_that_is_something_else(shop_files: Any, run: Any, tmp_path: Path) -> None:
    result = run("export", shop_files.bundle, "--onnx", tmp_path)
    assert isinstance(result.exception, ExportError)
    assert "is not an export" in str(result.exception)
    assert list(tmp_path.iterdir()) == []
