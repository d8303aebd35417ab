"""A recommender or a model as one folder on disk; with ``older_bundles`` the only module that knows the format.

``bundle.json`` names every other file with its size and SHA-256, and begins with its own. Tensors, ids and texts are in
safetensors files, the items' raw columns in a Parquet file; nothing is ever unpickled. A folder is checked whole before any
of its files reaches a parser, and written beside its place and then renamed, so that no half-written bundle is ever found
there. Files are mapped, not read: processes that serve the same bundle share its memory, and one that serves goes on with
what it mapped when the folder is replaced. So a bundle is never written in place.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import torch
from torch import Tensor

from shortlist.config import from_dict, to_dict
from shortlist.contracts import ModelSettings
from shortlist.data.dataset import Dataset
from shortlist.data.encode import Encoders
from shortlist.data.item_table import ItemTable
from shortlist.errors import BundleError, MissingExtraError
from shortlist.files import replaced_folder
from shortlist.index import AnyIndex
from shortlist.models import AnyModel
from shortlist.older_bundles import FORMAT, Contents, upgraded
from shortlist.packing import check_dataset, dataset_tensors, event_tensors, events_from, feature_tables, features_from
from shortlist.schema import Schema
from shortlist.sealing import MANIFEST, checked_manifest, identity, listed, write_manifest
from shortlist.tensor_files import read_tensors, write_tensors

ITEM_TABLE = "item_table.parquet"
LIBRARIES = ("shortlist", "torch", "numpy", "polars", "faiss-cpu", "scann", "annoy", "scikit-learn", "safetensors")


Indexed = tuple[AnyIndex, dict[str, Tensor]]  # an index's settings and its arrays


@dataclass(frozen=True, slots=True)
class Part:
    """One network: its settings, its weights, and what is worth knowing of its training (JSON-ready)."""

    settings: ModelSettings
    weights: dict[str, Tensor]
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a folder holds. ``held_out`` shares the vocabularies and features of ``dataset``."""

    parts: dict[str, Part]  # "model", "model_2", …; for a recommender also "fallback" and perhaps "ranker"
    dataset: Dataset
    held_out: Dataset | None = None
    indexes: dict[str, Indexed] = field(default_factory=dict)  # "index" of the "model", "index_2", …
    facts: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Tensor] = field(default_factory=dict)  # facts that may be large


def write_bundle(path: str | Path, bundle: Bundle) -> None:
    """Write ``bundle`` as the folder ``path``, replacing a bundle that is there. On any failure nothing has changed."""
    target = Path(path)
    if target.exists() and not (target / MANIFEST).is_file():
        raise BundleError(f"{target} exists and is not a bundle. Choose another path; nothing was written.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replaced_folder(target) as folder:
            _fill(folder, bundle)
    except OSError as error:
        raise BundleError(
            f"Cannot write the bundle {target}: {error.strerror or error}. Nothing was changed there."
        ) from error


def read_bundle(path: str | Path) -> Bundle:
    """Read the folder ``path``; a damaged, foreign or newer one is refused before any of its files is parsed.

    What is read is one bundle, also where another takes its place meanwhile: then that one is read.
    """
    folder = Path(path)
    while True:
        before = identity(folder)
        try:
            bundle = _read(folder)
        except BundleError:
            if identity(folder) == before:
                raise
        else:
            if identity(folder) == before:
                return bundle


@contextmanager
def checked_contents(path: str | Path) -> Iterator[None]:
    """Whatever goes wrong in the block, which makes something of the contents of the bundle ``path``, is a BundleError.

    Who writes a bundle by hand can state right checksums for anything, and any library may stumble over it.
    """
    try:
        yield
    except (BundleError, MissingExtraError):
        raise
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error}). Restore the bundle.") from error
    except (Exception, pl.exceptions.PanicException) as error:
        raise BundleError(
            f"{path} has a valid checksum and contents that make no sense ({type(error).__name__}: {error}). Write it anew."
        ) from error


def _read(folder: Path) -> Bundle:
    with checked_contents(folder):
        return _assemble(folder, checked_manifest(folder))


def _fill(folder: Path, bundle: Bundle) -> None:
    dataset = bundle.dataset
    tables = {
        "encoders": dataset.encoders.arrays(),
        "dataset": dataset_tensors(dataset),
        "held_out": {} if bundle.held_out is None else event_tensors(bundle.held_out),
        "facts": bundle.arrays,
        **{name: arrays for name, (_, arrays) in bundle.indexes.items()},
    }
    for name, tensors in tables.items():
        if tensors:
            write_tensors(folder / f"{name}.safetensors", tensors)
    for name, part in bundle.parts.items():
        write_tensors(folder / f"{name}.safetensors", part.weights)
    if dataset.item_table is not None:
        dataset.item_table.write(folder / ITEM_TABLE)
    manifest = {
        "format": FORMAT,
        "files": listed(folder),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in LIBRARIES}},
        "schema": dataset.schema.to_dict(),
        "encoders": dataset.encoders.to_dict(),
        "layouts": {
            name: None if features is None else asdict(features.layout)
            for name, features in feature_tables(dataset).items()
        },
        "num_items": dataset.num_items,
        "strict": dataset.events.strict,
        "held_out_strict": bundle.held_out is not None and bundle.held_out.events.strict,
        "notes": list(dataset.notes),
        "parts": {
            name: {"settings": to_dict(part.settings), "facts": part.facts} for name, part in bundle.parts.items()
        },
        "indexes": {name: to_dict(settings) for name, (settings, _) in bundle.indexes.items()},
        "facts": bundle.facts,
    }
    write_manifest(folder, manifest)


def _assemble(folder: Path, manifest: dict[str, Any]) -> Bundle:
    files = [folder / name for name in manifest["files"]]
    contents = Contents(
        {file.stem: read_tensors(file) for file in files if file.suffix == ".safetensors"},
        {file.stem: json.loads(file.read_bytes()) for file in files if file.suffix == ".json"},
    )
    manifest, tensors = upgraded(manifest, contents), contents.tensors
    encoders = Encoders.from_dict(manifest["encoders"], tensors["encoders"])
    arrays = tensors["dataset"]
    tables = {
        name: None if layout is None else features_from(layout, arrays, name)
        for name, layout in manifest["layouts"].items()
    }
    schema, num_items = msgspec.convert(manifest["schema"], Schema), manifest["num_items"]
    events = events_from(arrays, num_items, manifest["strict"])
    item_table = ItemTable.stored(folder / ITEM_TABLE) if ITEM_TABLE in manifest["files"] else None
    if item_table is not None and len(item_table) != num_items:
        raise ValueError(f"the items' table has {len(item_table)} rows for {num_items} items")
    dataset = Dataset(
        schema,
        encoders,
        events,
        arrays["target_start"],
        tables["user"],
        tables["item"],
        tables["context"],
        tuple(manifest["notes"]),
        item_table,
    )
    check_dataset(dataset)
    held_out = None
    if "held_out" in tensors:
        later = tensors["held_out"]
        layout = manifest["layouts"]["context"]
        context = None if layout is None else features_from(layout, later, "context")
        held = events_from(later, num_items, manifest["held_out_strict"])
        held_out = replace(dataset, events=held, target_start=later["target_start"], context=context)
        check_dataset(held_out, shared=True)
    parts = {
        name: Part(from_dict(stated["settings"], AnyModel, where=name), tensors[name], stated["facts"])
        for name, stated in manifest["parts"].items()
    }
    indexes = {
        name: (from_dict(stated, AnyIndex, where=name), tensors[name]) for name, stated in manifest["indexes"].items()
    }
    return Bundle(parts, dataset, held_out, indexes, manifest["facts"], tensors.get("facts", {}))


def _version(name: str) -> str | None:
    try:
        return torch.__version__ if name == "torch" else metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
