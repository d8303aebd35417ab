"""A recommender or a model as one folder on disk; the only module that knows the format.

``bundle.json`` names every other file with its size and SHA-256. Tensors are in safetensors files, the items' raw columns
in a Parquet file, the rest is JSON; nothing is ever unpickled. A folder is checked whole before any of its files reaches
a parser, and written beside its place and then renamed, so that no half-written bundle is ever found there.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import polars as pl
import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from shortlist.config import from_dict, to_dict
from shortlist.contracts import ModelSettings
from shortlist.data.dataset import Dataset
from shortlist.data.encode import Encoders
from shortlist.errors import BundleError
from shortlist.files import put_in_place
from shortlist.index import AnyIndex
from shortlist.models import AnyModel
from shortlist.packing import dataset_tensors, event_tensors, events_from, feature_tables, features_from
from shortlist.schema import Schema

FORMAT = 3
MANIFEST = "bundle.json"
FILE_NAME = re.compile(r"[a-z][a-z0-9_]*\.(json|safetensors|parquet)")
NONSENSE = (LookupError, TypeError, ValueError, AttributeError, SafetensorError, pl.exceptions.PolarsError)
LIBRARIES = ("shortlist", "torch", "numpy", "polars", "faiss-cpu", "scann", "annoy", "scikit-learn", "safetensors")


def _from_1_to_2(manifest: dict[str, Any]) -> dict[str, Any]:
    """Format 1 had one source with its index, and no last step."""
    indexes = {} if manifest["index"] is None else {"index": manifest["index"]}
    return {**manifest, "indexes": indexes, "facts": {"diversity": 0.0, "caps": {}, **manifest["facts"]}}


def _from_2_to_3(manifest: dict[str, Any]) -> dict[str, Any]:
    """Format 2 knew no withdrawn items, and not when it was made."""
    made = {"trained": None, "indexed": None}
    return {**manifest, "facts": {"withdrawn": [], "made": made, **manifest["facts"]}}


# How to bring the manifest of an older format up to the next one.
MIGRATIONS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1_to_2, 2: _from_2_to_3}


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


def write_bundle(path: str | Path, bundle: Bundle) -> None:
    """Write ``bundle`` as the folder ``path``, replacing a bundle that is there. On any failure nothing has changed."""
    target = Path(path)
    if target.exists() and not (target / MANIFEST).is_file():
        raise BundleError(f"{target} exists and is not a bundle. Choose another path; nothing was written.")
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        _fill(temporary, bundle)
        put_in_place(temporary, target)
    except OSError as error:
        raise BundleError(
            f"Cannot write the bundle {target}: {error.strerror or error}. Nothing was changed there."
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def read_bundle(path: str | Path) -> Bundle:
    """Read the folder ``path``; a damaged, foreign or newer one is refused before any of its files is parsed."""
    folder = Path(path)
    manifest, contents = _checked(folder)
    try:
        return _assemble(manifest, contents)
    except NONSENSE as error:
        raise BundleError(
            f"{folder} has a valid checksum and contents that make no sense ({error}). Write it anew."
        ) from error


def _fill(folder: Path, bundle: Bundle) -> None:
    schema = bundle.dataset.schema.to_dict()
    _write_json(folder / "encoders.json", bundle.dataset.encoders.to_dict())
    if learnt := bundle.dataset.encoders.arrays():
        _write_tensors(folder / "encoders.safetensors", learnt)
    _write_tensors(folder / "dataset.safetensors", dataset_tensors(bundle.dataset))
    if bundle.held_out is not None:
        _write_tensors(folder / "held_out.safetensors", event_tensors(bundle.held_out))
    for name, part in bundle.parts.items():
        _write_tensors(folder / f"{name}.safetensors", part.weights)
    for name, (_, arrays) in bundle.indexes.items():
        _write_tensors(folder / f"{name}.safetensors", arrays)
    if bundle.dataset.item_table is not None:
        bundle.dataset.item_table.write_parquet(folder / "item_table.parquet")
    files = {
        file.name: {"bytes": file.stat().st_size, "sha256": _digest(file.read_bytes())}
        for file in sorted(folder.iterdir())
    }
    manifest = {
        "format": FORMAT,
        "files": files,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in LIBRARIES}},
        "schema": schema,
        "layouts": {
            name: None if features is None else asdict(features.layout)
            for name, features in feature_tables(bundle.dataset).items()
        },
        "num_items": bundle.dataset.num_items,
        "strict": bundle.dataset.events.strict,
        "held_out_strict": bundle.held_out is not None and bundle.held_out.events.strict,
        "notes": list(bundle.dataset.notes),
        "parts": {
            name: {"settings": to_dict(part.settings), "facts": part.facts} for name, part in bundle.parts.items()
        },
        "indexes": {name: to_dict(settings) for name, (settings, _) in bundle.indexes.items()},
        "facts": bundle.facts,
    }
    _write_json(folder / MANIFEST, manifest)
    for file in folder.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())


def _checked(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest, and the bytes of every file it names, once all of them have the size and digest it states."""
    if not folder.is_dir():
        raise BundleError(f"There is no bundle {folder}. Make one with: shortlist train EVENTS --out {folder}")
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError as error:
        raise BundleError(f"{folder} is not a bundle: it has no {MANIFEST}.") from error
    except ValueError as error:
        raise BundleError(f"{folder / MANIFEST} is damaged: {error}. Restore the bundle or train again.") from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if not isinstance(found, int):
        raise BundleError(f"{folder / MANIFEST} is not a Shortlist bundle's: it states no format number.")
    if found > FORMAT:
        raise BundleError(f"{folder} has format {found}, and this version reads up to {FORMAT}. Upgrade shortlist.")
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise BundleError(f"{folder / MANIFEST} is damaged: it lists no files.")
    contents = {name: _checked_file(folder, name, stated) for name, stated in files.items()}
    for version in range(found, FORMAT):
        manifest = MIGRATIONS[version](manifest)
    return manifest, contents


def _checked_file(folder: Path, name: str, stated: Any) -> bytes:
    if not FILE_NAME.fullmatch(name):
        raise BundleError(f"{folder / MANIFEST} lists the file {name!r}, which no bundle has. It is refused.")
    file = folder / name
    if file.is_symlink() or not file.is_file():
        raise BundleError(f"{folder} lacks its file {name} (or has a link in its place). Restore the bundle.")
    data = file.read_bytes()
    if not isinstance(stated, dict) or len(data) != stated.get("bytes") or _digest(data) != stated.get("sha256"):
        raise BundleError(
            f"{file} is not what the bundle was written with: its size or SHA-256 differs. Restore the bundle."
        )
    return data


def _assemble(manifest: dict[str, Any], contents: dict[str, bytes]) -> Bundle:
    tensors = {
        name.removesuffix(".safetensors"): tensors_from_bytes(data)
        for name, data in contents.items()
        if name.endswith(".safetensors")
    }
    encoders = Encoders.from_dict(json.loads(contents["encoders.json"]), tensors.get("encoders"))
    arrays = tensors["dataset"]
    tables = {
        name: None if layout is None else features_from(layout, arrays, name)
        for name, layout in manifest["layouts"].items()
    }
    schema, num_items = Schema.from_dict(manifest["schema"]), manifest["num_items"]
    events = events_from(arrays, num_items, manifest["strict"])
    raw = contents.get("item_table.parquet")
    item_table = None if raw is None else pl.read_parquet(io.BytesIO(raw))
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
    held_out = None
    if "held_out" in tensors:
        later = tensors["held_out"]
        layout = manifest["layouts"]["context"]
        context = None if layout is None else features_from(layout, later, "context")
        held = events_from(later, num_items, manifest["held_out_strict"])
        held_out = replace(dataset, events=held, target_start=later["target_start"], context=context)
    parts = {
        name: Part(from_dict(stated["settings"], AnyModel, where=name), tensors[name], stated["facts"])
        for name, stated in manifest["parts"].items()
    }
    indexes = {
        name: (from_dict(stated, AnyIndex, where=name), tensors[name]) for name, stated in manifest["indexes"].items()
    }
    return Bundle(parts, dataset, held_out, indexes, manifest["facts"])


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    path.write_bytes(
        tensors_to_bytes(
            {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
        )
    )


def _write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, ensure_ascii=False, allow_nan=False, indent=None), encoding="utf-8")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _version(name: str) -> str | None:
    try:
        return torch.__version__ if name == "torch" else metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
