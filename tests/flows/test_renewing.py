"""The shop's bundle from the command line: refreshed in place, and trained on with the next days' events."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import shortlist as sl


@pytest.fixture
def bundle(shop_files: Any, tmp_path: Path) -> Path:
    shutil.copytree(shop_files.bundle, tmp_path / "shop.bundle")
    return tmp_path / "shop.bundle"


def test_refresh_takes_the_place_of_the_bundle(shop_files: Any, run: Any, bundle: Path, tmp_path: Path) -> None:
    items = pl.read_parquet(shop_files.items)
    new = items.head(1).with_columns(
        product_id=pl.lit("brand new").cast(items.schema["product_id"], strict=False).fill_null(99_999)
    )
    new.write_parquet(tmp_path / "new.parquet")
    old = items["product_id"][7]
    result = run("refresh", bundle, "--items", tmp_path / "new.parquet", "--remove", old, "--json")
    assert result.exception is None, result.output
    assert json.loads(result.stdout) == {
        "bundle": str(bundle),
        "notes": ["new.parquet: 1 items added, 0 known ones changed", "1 items withdrawn"],
        "items": 161,
        "offered": 160,
    }
    everything = (
        sl.load(bundle).recommend(sl.load(bundle).known_users()[:1], k=200, exclude_seen=False)["item_id"].to_list()
    )
    assert new["product_id"][0] in everything
    assert old not in everything
    assert not [path for path in bundle.parent.iterdir() if path.name.startswith(".")]


def test_train_goes_on_from_a_bundle(shop_files: Any, run: Any, bundle: Path, tmp_path: Path) -> None:
    events = pl.read_csv(shop_files.events)
    later = events.head(300).with_columns(pl.col("ts") + (events["ts"].max() - events["ts"].min()) + 1)
    later = pl.concat(
        [
            later,
            later.head(3).with_columns(
                customer_id=pl.lit("newcomer").cast(events.schema["customer_id"], strict=False).fill_null(77_777)
            ),
        ]
    )
    later.write_csv(tmp_path / "later.csv")
    result = run("train", tmp_path / "later.csv", "--resume-from", bundle, "--out", tmp_path / "next.bundle")
    assert result.exception is None, result.output
    before, after = sl.load(bundle), sl.load(tmp_path / "next.bundle")
    assert len(after.dataset.events) > len(before.dataset.events)
    assert after.dataset.num_users == before.dataset.num_users + 1
    assert len(after.recommend(after.known_users()[-1:], k=5)) == 5
    refused = run(
        "train", tmp_path / "later.csv", "--resume-from", bundle, "--retriever", "mf", "--out", tmp_path / "x"
    )
    assert "goes on with the bundle's own models" in str(refused.exception)
