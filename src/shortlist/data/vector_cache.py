"""Contents to the vectors that a frozen encoder makes of them, each made once and then kept on disk.

What is kept lies under :func:`cache_folder`, a folder for each encoder. Its files are written beside their place and then
renamed, and never changed, so that several processes may use it at once.
"""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from shortlist.errors import DataError, ShortlistWarning

Vectors = npt.NDArray[np.float32]
Embed = Callable[[list[int]], Any]

KEY_BYTES = 16
LEAST = 64  # fewer different contents, as in a request, are not worth looking up
BLOCK = 1024  # contents that are embedded and then kept at once
MOST_FILES = 64  # from which they are merged into one
ABANDONED_S = 3600


def cache_folder() -> Path:
    """Where vectors are kept: the folder that SHORTLIST_CACHE names, or "shortlist" in the user's cache directory."""
    named = os.environ.get("SHORTLIST_CACHE")
    if named:
        return Path(named)
    usual = os.environ.get("XDG_CACHE_HOME")
    return (Path(usual) if usual else Path.home() / ".cache") / "shortlist"


def content_key(content: bytes) -> bytes:
    """The key of a content: a hash of its bytes."""
    return blake2b(content, digest_size=KEY_BYTES).digest()


def frozen_vectors(keys: Sequence[bytes], embed: Embed, *, identity: str | None) -> Vectors:
    """The vectors (N, D) of contents with ``keys`` (N,), at least one.

    ``embed`` gets the positions of some of them and returns their vectors; it is asked once for equal keys, and not at
    all for what is kept under ``identity``, the encoder's own name. Without one nothing is kept. An answer that is not a
    finite vector of one width for each is a :class:`DataError`.
    """
    places: dict[bytes, int] = {}
    inverse = [places.setdefault(key, len(places)) for key in keys]
    first = dict(zip(reversed(inverse), range(len(keys) - 1, -1, -1), strict=True))  # a position of each place
    if identity is None or len(places) < LEAST:
        return _made([first[place] for place in range(len(places))], embed)[inverse]
    kept = _Kept(cache_folder() / "vectors" / blake2b(identity.encode(), digest_size=KEY_BYTES).hexdigest())
    known = kept.read(places)
    missing, distinct = [place for place in range(len(places)) if place not in known], list(places)
    for start in range(0, len(missing), BLOCK):
        block = missing[start : start + BLOCK]
        made = _made([first[place] for place in block], embed)
        kept.write([distinct[place] for place in block], made)
        known |= dict(zip(block, made, strict=True))
    widths = {len(vector) for vector in known.values()}
    if len(widths) > 1:
        raise DataError(
            f"The encoder {identity!r} gave vectors of {min(widths)} and of {max(widths)} numbers; some are kept in {kept.folder}. "
            "Give a changed encoder another name, or delete that folder."
        )
    return np.stack([known[place] for place in range(len(places))])[inverse]


def _made(positions: list[int], embed: Embed) -> Vectors:
    """The vectors of ``positions``, a block at a time."""
    parts: list[Vectors] = []
    for start in range(0, len(positions), BLOCK):
        block = positions[start : start + BLOCK]
        vectors: Vectors = np.asarray(embed(block), dtype=np.float32)
        if (
            vectors.ndim != 2
            or len(vectors) != len(block)
            or not vectors.shape[1]
            or any(vectors.shape[1] != part.shape[1] for part in parts[:1])
        ):
            raise DataError(
                f"An encoder answered {len(block)} values with an array of shape {vectors.shape}; wanted (M, D)."
            )
        if not np.isfinite(vectors).all():
            raise DataError("An encoder answered with numbers that are not finite (NaN or infinite). Mend it.")
        parts.append(vectors)
    return np.concatenate(parts)


class _Kept:
    """One encoder's folder of files, each with some keys (M, 16) and their vectors (M, D)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, wanted: dict[bytes, int]) -> dict[int, Vectors]:
        """The kept vectors by the places that ``wanted`` gives their keys."""
        found: dict[int, Vectors] = {}
        parts = [
            (path, part) for path in sorted(self.folder.glob("*.safetensors")) if (part := _part(path)) is not None
        ]
        for _, (keys, vectors) in parts:
            for row, key in enumerate(keys):
                place = wanted.get(key)
                if place is not None:
                    found[place] = vectors[row]
        if len(parts) > MOST_FILES and len({vectors.shape[1] for _, (_, vectors) in parts}) == 1:
            merged = {key: row for _, part in parts for key, row in zip(*part, strict=True)}
            whole = self.write(list(merged), np.stack(list(merged.values())))
            for path, _ in parts if whole is not None else ():
                if path != whole:
                    path.unlink(missing_ok=True)
        return found

    def write(self, keys: list[bytes], vectors: Vectors) -> Path | None:
        """Keep the vectors, beside what is there; None, with a warning, where the disk refuses."""
        joined = b"".join(keys)
        path = self.folder / f"{blake2b(joined, digest_size=KEY_BYTES).hexdigest()}.safetensors"
        table = np.frombuffer(joined, dtype=np.uint8).reshape(-1, KEY_BYTES)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for left in self.folder.glob(".*"):  # by a process that was killed
                if time.time() - left.stat().st_mtime > ABANDONED_S:
                    left.unlink(missing_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".", delete=False) as file:
                file.write(save({"keys": table, "vectors": np.ascontiguousarray(vectors)}))
            Path(file.name).replace(path)
        except OSError as error:
            reason = error.strerror or error
            message = f"The vectors of {len(keys):,} contents cannot be kept in {self.folder}: {reason}. They will be made again."
            warnings.warn(message, ShortlistWarning, stacklevel=2)
            return None
        return path


def _part(path: Path) -> tuple[list[bytes], Vectors] | None:
    """The keys and vectors of a file; None where another process has just merged it, or it is damaged."""
    try:
        tables = load(path.read_bytes())
        keys, vectors = tables["keys"].tobytes(), tables["vectors"]
    except FileNotFoundError:
        return None
    except (SafetensorError, KeyError) as error:
        path.unlink(missing_ok=True)
        message = f"{path} was damaged ({error}) and has been deleted; its vectors are made again."
        warnings.warn(message, ShortlistWarning, stacklevel=2)
        return None
    return [keys[start : start + KEY_BYTES] for start in range(0, len(keys), KEY_BYTES)], vectors
