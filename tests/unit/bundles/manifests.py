"""Changes to the manifest of a bundle, such as somebody with bad intentions or an older version would make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shortlist.sealing import write_manifest


def edit(saved: Path, change: Any) -> None:
    manifest = json.loads((saved / "bundle.json").read_text())
    change(manifest)
    write_manifest(saved, manifest)


def edit_older(folder: Path, change: Any) -> None:
    """A manifest of formats without a checksum of its own."""
    manifest = json.loads((folder / "bundle.json").read_text())
    change(manifest)
    (folder / "bundle.json").write_text(json.dumps(manifest))
