"""A folder's files to a manifest that names them with their digests, and back: what was not checked is not handed on."""

from __future__ import annotations

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from shortlist.errors import BundleError
from shortlist.older_bundles import FORMAT

MANIFEST = "bundle.json"
FILE_NAME = re.compile(r"[a-z][a-z0-9_]*\.(json|safetensors|parquet)")
SEAL = re.compile(rb'\{"sha256": "([0-9a-f]{64})", ')  # how a manifest begins: the digest of what follows
LAST_WITHOUT_SEAL = 3  # format


def listed(folder: Path) -> dict[str, dict[str, Any]]:
    """The size and the digest of each file, as a manifest has them."""
    files = sorted(folder.iterdir())
    with ThreadPoolExecutor() as pool:  # computing digests holds no lock
        digests = pool.map(_digest, files)
    return {
        file.name: {"bytes": file.stat().st_size, "sha256": digest} for file, digest in zip(files, digests, strict=True)
    }


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest, as JSON that begins with the digest of the rest."""
    text = json.dumps(manifest, ensure_ascii=False, allow_nan=False).encode()[1:]
    (folder / MANIFEST).write_bytes(f'{{"sha256": "{hashlib.sha256(text).hexdigest()}", '.encode() + text)


def identity(folder: Path) -> tuple[int, int] | None:
    """Of the folder that has the name now."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def checked_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, once every file that it names has the size and the digest that it states."""
    if not folder.is_dir():
        raise BundleError(f"There is no bundle {folder}. Make one with: shortlist train EVENTS --out {folder}")
    manifest = _unsealed(folder)
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise BundleError(f"{folder / MANIFEST} is damaged: it lists no files.")
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(lambda name: _check_file(folder, name, files[name]), files):
            pass
    return manifest


def _unsealed(folder: Path) -> dict[str, Any]:
    """The manifest, of a format that this version reads."""
    file = folder / MANIFEST
    try:
        if file.is_symlink():
            raise BundleError(f"{file} is a link. It is refused.")
        text = file.read_bytes()
        seal = SEAL.match(text)
        if seal is not None and hashlib.sha256(text[seal.end() :]).hexdigest().encode() != seal[1]:
            raise BundleError(f"{file} is damaged: its SHA-256 differs. Restore the bundle or train again.")
        manifest: dict[str, Any] = json.loads(text)
    except FileNotFoundError as error:
        raise BundleError(f"{folder} is not a bundle: it has no {MANIFEST}.") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{file} is damaged: {error}. Restore the bundle or train again.") from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if not isinstance(found, int) or found < 1:
        raise BundleError(f"{file} is not a Shortlist bundle's: it states no format number.")
    if found > FORMAT:
        raise BundleError(f"{folder} has format {found}, and this version reads up to {FORMAT}. Upgrade shortlist.")
    if seal is None and found > LAST_WITHOUT_SEAL:
        raise BundleError(f"{file} is damaged: it does not begin with its SHA-256. Restore the bundle or train again.")
    return manifest


def _check_file(folder: Path, name: str, stated: Any) -> None:
    if not FILE_NAME.fullmatch(name):
        raise BundleError(f"{folder / MANIFEST} lists the file {name!r}, which no bundle has. It is refused.")
    file = folder / name
    if file.is_symlink() or not file.is_file():
        raise BundleError(f"{folder} lacks its file {name} (or has a link in its place). Restore the bundle.")
    size = file.stat().st_size
    if not isinstance(stated, dict) or size != stated.get("bytes") or _digest(file) != stated.get("sha256"):
        raise BundleError(
            f"{file} is not what the bundle was written with: its size or SHA-256 differs. Restore the bundle."
        )


def _digest(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
