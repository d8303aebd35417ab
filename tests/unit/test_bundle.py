"""A bundle is whole or refused: damage, foreign files, newer formats and full disks are named, and nothing is half-written."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import shortlist as sl
from shortlist import bundle as bundle_module
from shortlist.bundle import read_bundle, write_bundle
from shortlist.data import Dataset
from shortlist.errors import BundleError
from shortlist.index import AnyIndex
from shortlist.recommender import Recommender


@pytest.fixture(scope="module")
def recommender(dataset: Dataset) -> Recommender:
    train, _, test = sl.split_last_out(dataset)
    training = sl.Training(epochs=1, batch_size=32, patience=None)
    model = sl.fit(sl.TwoTower(embedding_dim=8, hidden=(8,), history=5, negatives=8), train, training=training)
    ranker = sl.fit(sl.NeuMF(), train, training=training)
    return Recommender(model, ranker=ranker, candidates=15, history=dataset, held_out=test)


@pytest.fixture
def saved(recommender: Recommender, tmp_path: Path) -> Path:
    recommender.save(tmp_path / "a.bundle")
    return tmp_path / "a.bundle"


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
    assert after.item_table.equals(before.item_table)


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


@pytest.mark.parametrize("seed", range(12))
def test_an_altered_or_truncated_file_is_refused(saved: Path, seed: int) -> None:
    generator = random.Random(seed)
    file = generator.choice(
        sorted(saved.glob("*.safetensors")) + [saved / "encoders.json", saved / "item_table.parquet"]
    )
    data = bytearray(file.read_bytes())
    if seed % 2:
        data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    else:
        del data[generator.randrange(len(data)) :]
    file.write_bytes(data)
    with pytest.raises(BundleError, match=f"{file.name}.*SHA-256"):
        sl.load(saved)


def _edit(saved: Path, change: Any) -> None:
    manifest = json.loads((saved / "bundle.json").read_text())
    change(manifest)
    (saved / "bundle.json").write_text(json.dumps(manifest))


def test_no_parser_sees_a_file_before_its_checksum(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def parser(_: bytes) -> Any:
        pytest.fail("the parser ran")

    monkeypatch.setattr(bundle_module, "tensors_from_bytes", parser)
    (saved / "model.safetensors").write_bytes(b"garbage")
    with pytest.raises(BundleError, match=r"model\.safetensors"):
        sl.load(saved)


def test_a_bundle_of_format_1_answers_the_same(recommender: Recommender, saved: Path) -> None:
    """It had one source, its index under another key, no last step, and no raw columns of the items."""

    def as_format_1(manifest: dict[str, Any]) -> None:
        manifest["format"] = 1
        manifest["index"] = manifest.pop("indexes")["index"]
        manifest["facts"] = {"candidates": manifest["facts"]["candidates"]}
        del manifest["files"]["item_table.parquet"]

    _edit(saved, as_format_1)
    again = sl.load(saved)
    assert again.recommend(["u00", "u03"], k=8).equals(recommender.recommend(["u00", "u03"], k=8))
    with pytest.raises(sl.RequestError, match="without an items table"):
        again.recommend(["u00"], where="price < 9")


def test_a_newer_format_is_refused(saved: Path) -> None:
    _edit(saved, lambda manifest: manifest.update(format=99))
    with pytest.raises(BundleError, match="format 99.*Upgrade"):
        sl.load(saved)


@pytest.mark.parametrize(
    "name", ["../secret.json", "/etc/passwd", "a/b.json", "model.pkl", "..", ".json", "model.safetensors\n"]
)
def test_names_that_lead_out_of_the_folder_are_refused(saved: Path, name: str) -> None:
    (saved.parent / "secret.json").write_text("{}")
    _edit(
        saved,
        lambda manifest: manifest["files"].update({name: {"bytes": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}}),
    )
    with pytest.raises(BundleError, match="refused"):
        sl.load(saved)


def test_a_link_in_place_of_a_file_is_refused(saved: Path) -> None:
    outside = saved.parent / "outside.safetensors"
    shutil.move(saved / "model.safetensors", outside)
    (saved / "model.safetensors").symlink_to(outside)
    with pytest.raises(BundleError, match="link"):
        sl.load(saved)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not json", "damaged"),
        (b"[]", "no format number"),
        (b"{}", "no format number"),
        (b'{"format": 1}', "lists no files"),
    ],
)
def test_a_foreign_manifest_is_refused(saved: Path, content: bytes, words: str) -> None:
    (saved / "bundle.json").write_bytes(content)
    with pytest.raises(BundleError, match=words):
        sl.load(saved)


def test_a_manifest_with_a_part_that_no_file_has_is_refused(saved: Path) -> None:
    _edit(saved, lambda manifest: manifest["parts"].update(other=manifest["parts"]["model"]))
    with pytest.raises(BundleError, match="make no sense"):
        sl.load(saved)


def test_a_folder_that_is_no_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="There is no bundle"):
        sl.load(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=r"has no bundle\.json"):
        sl.load(tmp_path)


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
