"""A bundle answers as what was saved, and is written whole or not at all."""

from __future__ import annotations

import dataclasses
import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

import shortlist as sl
from shortlist.bundle import read_bundle, write_bundle
from shortlist.errors import BundleError
from shortlist.index import AnyIndex
from shortlist.recommender import Recommender


def test_a_loaded_recommender_answers_bit_for_bit_the_same(recommender: Recommender, saved: Path) -> None:
    again = sl.load(saved)
    assert again.recommend(["u00", "u03", "nobody"], k=8).equals(recommender.recommend(["u00", "u03", "nobody"], k=8))
    events = [{"item_id": 3}, {"item_id": 9}]
    assert again.recommend(events=events, k=5).equals(recommender.recommend(events=events, k=5))
    assert again.held_out is not None
    assert str(sl.evaluate(again, again.held_out, bootstrap=50)["ndcg@10"]) == str(
        sl.evaluate(recommender, again.held_out, bootstrap=50)["ndcg@10"]
    )


def test_every_kind_of_column_comes_back(recommender: Recommender, saved: Path) -> None:
    before, after = recommender.dataset, sl.load(saved).dataset
    assert after.schema == before.schema
    assert after.encoders == before.encoders
    for name in ("offsets", "items", "times", "ratings"):
        assert torch.equal(getattr(after.events, name), getattr(before.events, name)), name
    assert before.item_features is not None
    assert after.item_features is not None
    assert after.item_features.layout == before.item_features.layout
    assert torch.equal(after.item_features.multi[0].values, before.item_features.multi[0].values)
    assert before.item_table is not None
    assert after.item_table is not None
    assert after.item_table.frame.equals(before.item_table.frame)


@pytest.mark.parametrize(
    ("settings", "library"),
    [
        (sl.Exact(), "torch"),
        (sl.IVFPQ(nprobe=4, k_factor=2), "faiss"),
        (sl.HNSW(ef_search=150, neighbours=8), "faiss"),
        (sl.ScaNN(leaves_to_search=4, reorder=2), "scann"),
        (sl.Annoy(trees=3, search_k=200), "annoy"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_index_comes_back_as_it_was_edited(saved: Path, settings: AnyIndex, library: str) -> None:
    pytest.importorskip(library, reason=f"comes with the extra {library!r}")
    vectors = torch.randn(600, 8, generator=torch.Generator().manual_seed(0))
    index = settings.build(torch.arange(1, 601), vectors)
    index.remove(torch.tensor([3, 600]))
    index.add(torch.tensor([700]), vectors[:1])
    write_bundle(saved, dataclasses.replace(read_bundle(saved), indexes={"index": (settings, index.arrays())}))
    read = read_bundle(saved).indexes["index"]
    again = read[0].restore(read[1])
    assert read[0] == settings
    before, after = index.search(vectors[:50], 20), again.search(vectors[:50], 20)
    assert torch.equal(before.items, after.items)
    assert torch.equal(before.scores, after.scores)


def test_no_pickle_is_in_it(saved: Path) -> None:
    assert {file.suffix for file in saved.iterdir()} == {".json", ".safetensors", ".parquet"}


def test_saving_again_replaces_the_bundle(recommender: Recommender, saved: Path) -> None:
    recommender.save(saved)
    assert len(sl.load(saved).recommend(["u00"], k=3)) == 3
    assert [path.name for path in saved.parent.iterdir()] == ["a.bundle"]


def test_something_else_is_never_overwritten(recommender: Recommender, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(BundleError, match="is not a bundle"):
        recommender.save(tmp_path / "photos")
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"cat"


@pytest.mark.parametrize("there_before", [False, True])
def test_a_full_disk_leaves_nothing_behind(
    recommender: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there_before: bool
) -> None:
    target = tmp_path / "a.bundle"
    if there_before:
        recommender.save(target)
    before = {file.name: file.read_bytes() for file in target.glob("*")}

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BundleError, match="No space left on device"):
        recommender.save(target)
    assert {file.name: file.read_bytes() for file in target.glob("*")} == before
    assert [path.name for path in tmp_path.iterdir()] == (["a.bundle"] if there_before else [])
