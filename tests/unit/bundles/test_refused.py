"""A bundle that is damaged, foreign or of a newer format is refused, and what is wrong with it is named."""

from __future__ import annotations

import hashlib
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.bundles.manifests import edit, edit_older

import shortlist as sl
from shortlist import bundle as bundle_module
from shortlist.bundle import read_bundle
from shortlist.errors import BundleError

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


def test_a_manifest_that_lost_its_checksum_is_refused(saved: Path) -> None:
    edit_older(saved, lambda manifest: manifest.pop("sha256"))
    with pytest.raises(BundleError, match="does not begin with its SHA-256"):
        sl.load(saved)


def test_a_newer_format_is_refused(saved: Path) -> None:
    edit(saved, lambda manifest: manifest.update(format=99))
    with pytest.raises(BundleError, match="format 99.*Upgrade"):
        sl.load(saved)


@pytest.mark.parametrize(
    "name", ["../secret.json", "/etc/passwd", "a/b.json", "model.pkl", "..", ".json", "model.safetensors\n"]
)
def test_names_that_lead_out_of_the_folder_are_refused(saved: Path, name: str) -> None:
    (saved.parent / "secret.json").write_text("{}")
    edit(
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
    edit(saved, lambda manifest: manifest["parts"].update(other=manifest["parts"]["model"]))
    with pytest.raises(BundleError, match="make no sense"):
        sl.load(saved)


def test_a_folder_that_is_no_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="There is no bundle"):
        sl.load(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=r"has no bundle\.json"):
        sl.load(tmp_path)
