"""A bundle is whole or refused: damage, foreign files, newer formats and full disks are named, and nothing is half-written."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

import shortlist as sl
from shortlist import bundle as bundle_module
from shortlist.bundle import read_bundle, write_bundle
from shortlist.data import Dataset
from shortlist.errors import BundleError
from shortlist.index import AnyIndex
from shortlist.recommender import Recommender
from shortlist.sealing import write_manifest


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


FILES = (
    "bundle.json",
    "dataset.safetensors",
    "encoders.safetensors",
    "fallback.safetensors",
    "held_out.safetensors",
    "index.safetensors",
    "item_table.parquet",
    "model.safetensors",
    "ranker.safetensors",
)


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    generator = random.Random(0)
    data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    file.write_bytes(data)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def _grow(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b" ")


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _link(file: Path) -> None:
    shutil.move(file, file.parent.parent / "outside")
    file.symlink_to(file.parent.parent / "outside")


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGE = (_flip, _cut, _grow, _empty, Path.unlink, _link, _folder)


def test_those_are_all_the_files(saved: Path) -> None:
    assert sorted(file.name for file in saved.iterdir()) == sorted(FILES)


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__.strip("_"))
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_refused_before_any_is_parsed(
    saved: Path, monkeypatch: pytest.MonkeyPatch, name: str, damage: Callable[[Path], None]
) -> None:
    def parser(_: Path) -> Any:
        pytest.fail("a parser ran")

    monkeypatch.setattr(bundle_module, "read_tensors", parser)
    monkeypatch.setattr(bundle_module.ItemTable, "stored", parser)
    damage(saved / name)
    with pytest.raises(BundleError, match=re.escape(name)):
        sl.load(saved)


def test_no_byte_of_the_manifest_can_change_unseen(saved: Path) -> None:
    file = saved / "bundle.json"
    data = file.read_bytes()
    generator = random.Random(1)
    for place in [*range(90), *generator.sample(range(90, len(data)), 200)]:
        file.write_bytes(data[:place] + bytes([data[place] ^ 1 << generator.randrange(8)]) + data[place + 1 :])
        with pytest.raises(BundleError):
            read_bundle(saved)


def _edit(saved: Path, change: Any) -> None:
    manifest = json.loads((saved / "bundle.json").read_text())
    change(manifest)
    write_manifest(saved, manifest)


@pytest.fixture
def format_3(tmp_path: Path) -> Path:
    """A recommender that a version with format 3 wrote, and what it answered: 21 items, two of them withdrawn."""
    shutil.copytree(Path(__file__).parent / "bundles" / "format_3", tmp_path / "format_3")
    return tmp_path / "format_3"


def _assert_answers(recommender: Recommender, folder: Path, *, where: bool = True) -> None:
    told = json.loads((folder / "answers.json").read_text())
    asked = {
        "users": recommender.recommend(["u00", "u03", "u11", "nobody"], k=6),
        "session": recommender.recommend(events=[{"item_id": 2}, {"item_id": 9}], k=5, context={"device": "tv"}),
    }
    if where:
        asked["where"] = recommender.recommend(["u01"], k=5, where="category = 'tea' and price < 15")
    for name, found in asked.items():
        before = pl.DataFrame(told[name])
        assert found.drop("score").to_dicts() == before.drop("score").to_dicts(), name
        assert found["score"].to_list() == pytest.approx(before["score"].to_list(), abs=1e-5), name
    assert recommender.titles([1, 2, 21, 99]) == told["titles"]


def test_a_bundle_of_format_3_answers_the_same(format_3: Path) -> None:
    """Its ids, titles and categories are lists in JSON."""
    recommender = sl.load(format_3 / "bundle")
    _assert_answers(recommender, format_3)
    recommender.save(format_3 / "bundle")
    assert read_bundle(format_3 / "bundle").arrays["withdrawn"].tolist() == [3, 4]
    _assert_answers(sl.load(format_3 / "bundle"), format_3)


def _edit_older(folder: Path, change: Any) -> None:
    """A manifest of formats without a checksum of its own."""
    manifest = json.loads((folder / "bundle.json").read_text())
    change(manifest)
    (folder / "bundle.json").write_text(json.dumps(manifest))


def test_a_bundle_of_format_2_answers_the_same_but_for_what_was_withdrawn(format_3: Path) -> None:
    """It knew no withdrawn items, and not when it was made."""

    def as_format_2(manifest: dict[str, Any]) -> None:
        manifest["format"] = 2
        del manifest["facts"]["withdrawn"], manifest["facts"]["made"]

    _edit_older(format_3 / "bundle", as_format_2)
    recommender = sl.load(format_3 / "bundle")
    assert recommender.ages()["model"] is None
    assert recommender.funnel.offered is None
    assert len(recommender.recommend(["u00"], k=6)) == 6


def test_a_bundle_of_format_1_answers_the_same(format_3: Path) -> None:
    """It had one source, its index under another key, no last step, and no raw columns of the items."""

    def as_format_1(manifest: dict[str, Any]) -> None:
        manifest["format"] = 1
        manifest["index"] = manifest.pop("indexes")["index"]
        manifest["facts"] = {"candidates": manifest["facts"]["candidates"]}
        manifest["parts"] = {name: manifest["parts"][name] for name in ("model", "fallback", "ranker")}
        del manifest["files"]["item_table.parquet"]

    both = sl.load(format_3 / "bundle")
    _edit_older(format_3 / "bundle", as_format_1)
    recommender = sl.load(format_3 / "bundle")
    only = replace(both.funnel, sources=both.funnel.sources[:1], selection=recommender.funnel.selection, offered=None)
    requests = both.funnel.sources[0].model.requests_of(torch.arange(1, 13))
    before, after = (funnel.retrieve(requests, 10) for funnel in (only, recommender.funnel))
    assert torch.equal(before.items, after.items)
    assert torch.equal(before.scores, after.scores)
    with pytest.raises(sl.RequestError, match="without an items table"):
        recommender.recommend(["u00"], where="price < 9")


def test_a_manifest_that_lost_its_checksum_is_refused(saved: Path) -> None:
    _edit_older(saved, lambda manifest: manifest.pop("sha256"))
    with pytest.raises(BundleError, match="does not begin with its SHA-256"):
        sl.load(saved)


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
