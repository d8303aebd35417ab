"""Bundles by somebody who states right digests for contents that make no sense: each is refused, and the reason is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from torch import Tensor

import shortlist as sl
from shortlist.data.synthetic import make_shop
from shortlist.sealing import MANIFEST, listed, write_manifest
from shortlist.tensor_files import read_tensors, write_tensors
from shortlist.texts import Texts

Change = Callable[[Any], Any]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shop = make_shop(users=30, items=40, events=150, seed=1)
    tags = pl.Series("tags", [["red", "blue"][: place % 3] for place in range(40)])
    schema = {"features": [{"name": "tags", "kind": "multi", "owner": "item"}]}
    dataset = sl.read_dataset(shop.events, items=shop.items.with_columns(tags), schema=schema)
    model = sl.fit(sl.MF(embedding_dim=4), dataset, training=sl.Training(epochs=1, patience=None))
    folder = tmp_path_factory.mktemp("bundles") / "sound"
    sl.Recommender(model, index=sl.Exact()).save(folder)
    return folder


def last(value: int) -> Change:
    """The last number becomes another."""

    def changed(table: Tensor) -> Tensor:
        table[..., -1] = value
        return table

    return changed


@pytest.mark.parametrize(
    ("file", "name", "change", "words"),
    [
        ("dataset", "events_items", last(41), "events_items leads outside"),
        ("dataset", "events_items", last(-1), "events_items leads outside"),
        ("dataset", "events_items", lambda table: table.short(), "events_items is torch.int16"),
        ("dataset", "events_offsets", last(-5), "events_offsets do not rise"),
        ("dataset", "events_times", lambda table: table[:-1], "events_times is torch.int64 of shape"),
        ("dataset", "target_start", last(10_000), "target_start leads outside"),
        ("dataset", "item_categorical", last(10_000), "item_categorical leads outside"),
        ("dataset", "item_numeric", lambda table: table[:, :-1], "item_numeric is torch.float32 of shape"),
        ("dataset", "item_multi0_values", last(0), "item_multi0_values leads outside"),
        ("dataset", "item_multi0_offsets", last(0), "item_multi0_offsets do not rise"),
        ("encoders", "items.texts", lambda table: table.fill_(0xFF), "utf-8"),
        ("encoders", "items.texts", lambda table: torch.cat((table[:-1], table[:1].fill_(0xC3))), "utf-8"),
        ("index", "items", last(41), "has items that the bundle has not"),
        ("model", "items.embedding.weight", lambda table: table[:-1], "size mismatch"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    sound: Path, tmp_path: Path, file: str, name: str, change: Change, words: str
) -> None:
    def edit(folder: Path, _: dict[str, Any]) -> None:
        tensors = {key: table.clone() for key, table in read_tensors(folder / f"{file}.safetensors").items()}
        tensors[name] = change(tensors[name])
        (folder / f"{file}.safetensors").unlink()
        write_tensors(folder / f"{file}.safetensors", tensors)

    with pytest.raises(sl.BundleError, match=f"(?s){words}.*Write it anew"):
        sl.load(edited(sound, tmp_path, edit))


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("parts", "model", "facts", "training", "epochs"), None, "epochs"),
        (("parts", "model", "facts", "trained_until", "events"), "many", "Expected `int`"),
        (("parts", "model", "settings", "embedding_dim"), -1, "negative dimension"),
        (("schema", "timestamp"), 3, "timestamp"),
        (("encoders", "item_features", "scales", 0, "mean"), "x", "mean"),
        (("facts", "candidates"), "200", "candidates"),
        (("facts", "made", "trained"), [], "trained"),
        (("layouts", "item", "numeric"), 99, "layout of the item features"),
        (("num_items",), 39, "40 rows for 39 items"),
    ],
)
def test_statements_that_make_no_sense_are_refused(
    sound: Path, tmp_path: Path, place: tuple[str | int, ...], value: Any, words: str
) -> None:
    def edit(_: Path, manifest: dict[str, Any]) -> None:
        holder: Any = manifest
        for key in place[:-1]:
            holder = holder[key]
        assert place[-1] in holder
        holder[place[-1]] = value

    with pytest.raises(sl.BundleError, match=f"(?s){words}.*Write it anew"):
        sl.load(edited(sound, tmp_path, edit))


def test_an_edited_bundle_that_makes_sense_is_read(sound: Path, tmp_path: Path) -> None:
    assert sl.load(edited(sound, tmp_path, lambda *_: None)).dataset.num_items == 40


def test_a_text_may_not_begin_within_a_character() -> None:
    arrays = Texts.of(["ü", "u"]).arrays()
    arrays["offsets"][1] = 1
    with pytest.raises(ValueError, match="begins within a character"):
        Texts.of_arrays(arrays)


def edited(sound: Path, folder: Path, edit: Callable[[Path, dict[str, Any]], None]) -> Path:
    """A copy with other contents and the digests of those."""
    changed = folder / "changed"
    changed.mkdir()
    for file in sound.iterdir():
        (changed / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((changed / MANIFEST).read_text())
    edit(changed, manifest)
    (changed / MANIFEST).unlink()
    stated = {name: value for name, value in manifest.items() if name not in ("sha256", "files")}
    write_manifest(changed, {**stated, "files": listed(changed)})
    return changed
