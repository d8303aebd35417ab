"""A bundle to a folder of graphs, the meaning of their numbers, and ``export.json``, which describes it all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from shortlist.bundle import Bundle, checked_contents, read_bundle
from shortlist.contracts import Retriever
from shortlist.errors import ExportError
from shortlist.exporting.columns import RULES, describe
from shortlist.exporting.computations import obstacle
from shortlist.exporting.files import write_computation, write_items
from shortlist.exporting.ids import write_ids
from shortlist.files import replaced_folder
from shortlist.model import Model
from shortlist.sealing import MANIFEST

FORMAT = 1
DESCRIPTION = "export.json"
TOLERANCE = 1e-4
EVIDENCE = {
    "one": "of one source its score and its rank from 0, for each item: [score, rank]",
    "several": "for each source its score, its rank from 0 and 1 if it found the item; where it did not: its lowest score for the "
    "request, the number of slots asked for, and 0",
}


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and what could not be."""

    folder: Path
    description: dict[str, Any]  # what export.json holds

    def __str__(self) -> str:
        """A line for each file and for each part that is left out."""
        lines = [
            f"{name:20} {facts['role']} of {facts['model']}, differs from PyTorch by {facts['parity']['largest_difference']:.1e}"
            for name, facts in self.description["files"].items()
        ]
        lines += [
            f"not exported: {each['part']} ({each['model']}), for {each['reason']}"
            for each in self.description["not_exported"]
        ]
        return "\n".join([*lines, f"Wrote {self.folder}: opset {self.description['opset']}, see {DESCRIPTION}"])


def export_bundle(path: str | Path, *, onnx: str | Path, tolerance: float = TOLERANCE) -> Exported:
    """Write the networks of the bundle ``path`` as graphs of ONNX into the folder ``onnx``, replacing an export that is there.

    Each graph is compared with PyTorch; one that differs by more than ``tolerance`` of the largest number is an
    :class:`ExportError`, and then nothing is written. What is no network is left out, and said.
    """
    target = Path(onnx)
    if target.exists() and not (target / DESCRIPTION).is_file():
        raise ExportError(f"{target} exists and is not an export. Choose another folder; nothing was written.")
    with checked_contents(path):
        bundle = read_bundle(path)
        models = {name: Model.from_part(part, bundle.dataset) for name, part in bundle.parts.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replaced_folder(target) as folder:
            description = _fill(folder, bundle, models, tolerance)
            description["bundle"] = {"manifest_sha256": _digest(Path(path) / MANIFEST), **bundle.facts.get("made", {})}
            (folder / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
            for file in folder.iterdir():
                file.chmod(0o644)
    except OSError as error:
        raise ExportError(f"Cannot write {target}: {error.strerror or error}. Nothing was changed there.") from error
    return Exported(target, description)


def _fill(folder: Path, bundle: Bundle, models: dict[str, Model], tolerance: float) -> dict[str, Any]:
    files, left_out = dict[str, Any](), list[dict[str, str]]()
    for name, model in models.items():
        reason = obstacle(model)
        if reason is not None:
            left_out.append({"part": name, "model": model.name, "reason": reason})
        for file, facts in _written(folder, name, model, tolerance):
            files[file] = {"part": name, **facts}
    if not files:
        reasons = "; ".join(f"{each['model']}: {each['reason']}" for each in left_out)
        raise ExportError(f"The bundle holds nothing that ONNX could. {reasons}.")
    features = {
        owner: describe(encoder, owner)
        for owner, encoder in (
            ("user", bundle.dataset.encoders.user_features),
            ("context", bundle.dataset.encoders.context),
        )
        if encoder is not None
    }
    (folder / "features.json").write_text(
        json.dumps({"rules": RULES, **features}, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    ids = write_ids(bundle.dataset, folder, bundle.arrays["withdrawn"].tolist() if "withdrawn" in bundle.arrays else [])
    written = {each.name: {"bytes": each.stat().st_size, "sha256": _digest(each)} for each in sorted(folder.iterdir())}
    sources = [name for name in models if name.startswith("model")]
    return {
        "format": FORMAT,
        "opset": next(iter(files.values()))["opset"],
        "tolerance": tolerance,
        "versions": {name: metadata.version(name) for name in ("shortlist", "torch", "onnx", "onnxruntime")},
        "files": files,
        "not_exported": left_out,
        "ids": ids,
        "features": "features.json",
        "funnel": {
            "sources": sources,
            "ranker": "ranker" if "ranker" in models else None,
            "candidates": bundle.facts.get("candidates"),
            "evidence": EVIDENCE["one" if len(sources) == 1 else "several"],
        },
        "written": written,
    }


def _written(folder: Path, name: str, model: Model, tolerance: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each file of a model with its facts, as it is written."""
    if obstacle(model) is None:
        file = f"{name}.onnx" if not isinstance(model.network, Retriever) else f"{name}_users.onnx"
        yield file, write_computation(model, folder / file, tolerance=tolerance)
    if isinstance(model.network, Retriever):
        file = f"{name}_items.onnx"
        yield file, write_items(model, folder / file, tolerance=tolerance)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
